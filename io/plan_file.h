// SPDX-License-Identifier: Apache-2.0
#pragma once
// Plan files: HDF5 behind a sealed 512-byte user block. The format is docs/plan-format.md.
//
// Goals: readable with h5py alone; no byte uncovered by the seal; the same plan gives the same
// bytes; a file on disk is either the old one or the new one, whole.
//
// Non-goals: editing in place, compression, partial reads of tables.

#include <cstdint>
#include <string>

#include "splashmask/planner/plan.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

/// SHA-256 digests in lower-case hex; docs/plan-format.md, "Digests", freezes the recipes.
struct PlanDigests {
  std::string mask_digest;     ///< The mask: canonical text, shape, heads.
  std::string plan_digest;     ///< mask_digest and the options: what a cache looks up.
  std::string content_digest;  ///< The tables.
  friend bool operator==(const PlanDigests&, const PlanDigests&) = default;
};

/// Computes the three digests of a plan.
PlanDigests ComputeDigests(const Plan& plan);

/// Writes `plan` to `path`: beside it first, synced, sealed, then renamed over it. On any failure
/// the file that was there is untouched and nothing is left behind. Returns the digests it wrote.
/// Throws kIo, kCancelled, and kInvalidArgument for the tables of a dynamic mask, which no file
/// holds.
PlanDigests WritePlan(const Plan& plan, const std::string& path, const Progress& progress = {});

/// How a file's seal was found.
enum class SealState : uint8_t {
  kValid,
  kBroken,      ///< Some byte differs from what was sealed (or the file is longer or shorter).
  kNotChecked,  ///< The reader was asked not to look.
};

struct ReadOptions {
  enum class Seal : uint8_t {
    kRequire,  ///< A broken seal throws kDamaged before HDF5 parses anything.
    kReport,   ///< Checked and reported in LoadedPlan::seal; reading goes on.
    kSkip,     ///< Not checked.
  };
  Seal seal = Seal::kRequire;
  /// Recompute the digests from the content and compare with the stored ones.
  bool check_digests = true;
  Progress progress;
};

struct LoadedPlan {
  Plan plan;
  SealState seal = SealState::kValid;
  std::string seal_error;  ///< What is wrong with a broken seal; else empty.
  PlanDigests digests;     ///< As stored in the file.
  /// Empty, or which stored digest differs from the recomputed one, with both values. Only with
  /// Seal::kReport; otherwise a wrong digest throws kDamaged.
  std::string digest_error;
  int64_t format_version = 0;
  std::string created_with;  ///< For example "splashmask 0.1.0".
  int64_t file_bytes = 0;
};

/// Reads a plan file whole. Every dtype and shape fits the mask, the blocks and the shards; the
/// values in the tables are for digests and Certify to judge. Throws kNotFound, kIo, kNotAPlan,
/// kNewerFormat, and kDamaged for a broken seal, a wrong digest, or content that contradicts
/// itself.
LoadedPlan ReadPlan(const std::string& path, const ReadOptions& options = {});

/// Checks the seal alone and parses nothing that it covers. Throws as ReadPlan does, but never
/// kDamaged.
SealState CheckSeal(const std::string& path, const Progress& progress = {});

/// The format version this library writes, and the newest it reads.
inline constexpr int64_t kPlanFormatVersion = 1;

}  // namespace splashmask
