// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "splashmask/io/plan_contents.h"
#include "splashmask/io/plan_file.h"
#include "splashmask/io/posix_file.h"
#include "splashmask/io/seal.h"
#include "splashmask/masks/print.h"

namespace splashmask {

namespace {

// The first stored digest that its content contradicts, "" when there is none.
std::string FindDigestError(const Plan& plan, const PlanDigests& stored) {
  const auto differs = [](const char* name, const std::string& expected, const std::string& got) {
    return fmt::format("expected {} {}, got content with {}", name, expected, got);
  };
  // An array is stored under its digest, and that is the name it was read with.
  std::string problem;
  for (const Mask& head : plan.mask.masks()) {
    ForEachArray(head, [&](const Array& array) {
      if (problem.empty() && array.name() != array.Digest()) {
        problem = differs("array", array.name(), array.Digest());
      }
    });
    if (!problem.empty()) return problem;
  }
  const PlanDigests got = ComputeDigests(plan);
  if (got.mask_digest != stored.mask_digest) {
    return differs("mask_digest", stored.mask_digest, got.mask_digest);
  }
  if (got.plan_digest != stored.plan_digest) {
    return differs("plan_digest", stored.plan_digest, got.plan_digest);
  }
  if (got.content_digest != stored.content_digest) {
    return differs("content_digest", stored.content_digest, got.content_digest);
  }
  return "";
}

}  // namespace

SealState CheckSeal(const std::string& path, const Progress& progress) {
  return CheckSeal(PosixFile::OpenForReading(path, "read_plan"), /*check_hash=*/true, progress)
      .state;
}

LoadedPlan ReadPlan(const std::string& path, const ReadOptions& options) {
  using Seal = ReadOptions::Seal;
  const Progress& progress = options.progress;
  progress.ThrowIfStopped();
  const PosixFile file = PosixFile::OpenForReading(path, "read_plan");
  const Progress first_half{.report = [&](double done) { progress.Report(done / 2); },
                            .stop = progress.stop};
  SealCheck seal = CheckSeal(file, options.seal != Seal::kSkip, first_half);
  if (options.seal == Seal::kRequire && seal.state == SealState::kBroken) {
    throw Error(ErrorCode::kDamaged, file.Message("the seal is broken: " + seal.problem));
  }
  PlanContents contents = ReadContents(file, progress);
  progress.Report(0.75);
  std::string digest_error;
  if (options.check_digests) {
    digest_error = FindDigestError(contents.plan, contents.digests);
    if (!digest_error.empty() && options.seal != Seal::kReport) {
      throw Error(ErrorCode::kDamaged, file.Message(digest_error));
    }
  }
  progress.Report(1.0);
  return {.plan = std::move(contents.plan),
          .seal = options.seal == Seal::kSkip ? SealState::kNotChecked : seal.state,
          .seal_error = std::move(seal.problem),
          .digests = std::move(contents.digests),
          .digest_error = std::move(digest_error),
          .format_version = contents.format_version,
          .created_with = std::move(contents.created_with),
          .file_bytes = file.Size()};
}

}  // namespace splashmask
