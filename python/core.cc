// SPDX-License-Identifier: Apache-2.0
// The module splashmask._core: thin shims between Python and the library.

#include <nanobind/nanobind.h>

#include <exception>
#include <string_view>

#include "splashmask/masks/error.h"
#include "splashmask/python/mask_object.h"

namespace splashmask::python {

namespace {

namespace nb = nanobind;

// Raises splashmask.Error, a ValueError that also carries the code.
void TranslateError(const std::exception_ptr& exception, void* type) {
  try {
    std::rethrow_exception(exception);
  } catch (const Error& error) {
    const nb::handle error_type(static_cast<PyObject*>(type));
    const std::string_view code = ErrorCodeName(error.code());
    nb::object value = error_type(error.what());
    value.attr("code") = nb::str(code.data(), code.size());
    PyErr_SetObject(error_type.ptr(), value.ptr());
  }
}

}  // namespace

NB_MODULE(_core, m) {
  PyObject* error_type = PyErr_NewExceptionWithDoc(
      "splashmask.Error", "Input that cannot be used; `code` names the kind.", PyExc_ValueError,
      nullptr);
  m.attr("Error") = nb::steal(error_type);
  nb::register_exception_translator(TranslateError, error_type);
  // Objects that module globals still hold when Python exits are no leaks.
  nb::set_leak_warnings(false);
  m.attr("__version__") = SPLASHMASK_VERSION;
  BindBalance(m);
  BindBuffers(m);
  BindCost(m);
  BindFootprint(m);
  BindMask(m);
  BindPacked(m);
  BindPlan(m);
  BindTokamax(m);
  BindTune(m);
  BindAttention(m);  // Knows plans.
#ifdef SPLASHMASK_HAS_XLA_FFI
  BindFfiHandlers(m);
#endif
}

}  // namespace splashmask::python
