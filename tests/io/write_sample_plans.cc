// SPDX-License-Identifier: Apache-2.0
// write_sample_plans DIRECTORY: writes each sample plan to DIRECTORY/<name>.h5, for tests in other
// processes and other languages.
#include <cstdio>
#include <exception>
#include <string>

#include "splashmask/io/plan_file.h"
#include "tests/io/sample_plans.h"

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: write_sample_plans DIRECTORY\n");
    return 2;
  }
  try {
    for (const splashmask::SamplePlan& sample : splashmask::SamplePlans()) {
      splashmask::WritePlan(sample.plan, std::string(argv[1]) + "/" + sample.name + ".h5");
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 3;
  }
  return 0;
}
