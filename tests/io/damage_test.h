// SPDX-License-Identifier: Apache-2.0
#pragma once
// Files that are sealed, and wrong all the same.
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "splashmask/io/plan_file.h"
#include "tests/io/edit_plan.h"
#include "tests/io/expect_error.h"
#include "tests/io/sample_plans.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {

class DamageTest : public testing::Test {
 protected:
  /// `sample`: the plan that is damaged where none is named.
  explicit DamageTest(std::string sample) : sample_(std::move(sample)) {}

  /// Expects the reader to refuse the sample plan after that edit.
  template <typename Edit>
  void Expect(const std::string& text, Edit&& edit) {
    Expect(text, edit, sample_);
  }
  template <typename Edit>
  void Expect(const std::string& text, Edit&& edit, const std::string& sample) {
    SCOPED_TRACE(text);
    WritePlan(SamplePlanNamed(sample), path_);
    EditPlan(path_, true, edit);
    ExpectError(ErrorCode::kDamaged, "[read_plan] " + path_ + ": " + text,
                [&] { ReadPlan(path_); });
  }

  const std::string sample_;
  const TemporaryDirectory directory_;
  const std::string path_ = directory_ / "plan.h5";
};

}  // namespace splashmask
