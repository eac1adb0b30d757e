// SPDX-License-Identifier: Apache-2.0
#pragma once
// compile_packed of the module splashmask._core.

#include <nanobind/nanobind.h>

namespace splashmask::python {

void BindPacked(nanobind::module_& m);

}  // namespace splashmask::python
