// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "splashmask/io/plan_file.h"
#include "splashmask/io/stored_fields.h"
#include "splashmask/masks/digest.h"
#include "splashmask/masks/print.h"

namespace splashmask {

namespace {

std::string PlanDigest(const Plan& plan, const std::string& mask_digest) {
  const PlanOptions& options = plan.options;
  Sha256 sha;
  sha.Update("splashmask plan 1\n");
  sha.Update(fmt::format("mask_digest={}\n", mask_digest));
  sha.Update("dialect=jax\n");
  sha.Update(fmt::format("head_shards={}\n", options.head_shards));
  sha.Update(fmt::format("q_seq_shards={}\n", options.q_seq_shards));
  sha.Update(fmt::format("downcast_smem_data={}\n", options.downcast_smem_data));
  sha.Update(fmt::format("shrink_grid={}\n", options.shrink_grid));
  sha.Update(fmt::format("simplify={}\n", options.simplify));
  sha.Update(fmt::format("use_fused_bwd_kernel={}\n", options.use_fused_bwd_kernel));
  for (Pass which : kAllPasses) {
    const std::optional<CompiledPass>& pass = plan.pass(which);
    if (!pass) continue;
    sha.Update(fmt::format("{0}.block_q={1}\n{0}.block_kv={2}\n", PassName(which), pass->block.q,
                           pass->block.kv));
  }
  for (Pass which : kTokamaxPasses) {
    if (!plan.tokamax_pass(which)) continue;
    const TokamaxPassOptions& pass = plan.tokamax_pass(which)->options;
    const std::string name = fmt::format("{}.{}", kTokamax, PassName(which));
    sha.Update(
        fmt::format("{0}.block_q={1}\n{0}.block_kv={2}\n", name, pass.block.q, pass.block.kv));
    sha.Update(fmt::format("{0}.q_seq_shards={1}\n{0}.kv_seq_shards={2}\n", name, pass.q_seq_shards,
                           pass.kv_seq_shards));
    sha.Update(fmt::format("{}.downcast_smem_data={}\n", name, pass.downcast_smem_data));
    sha.Update(fmt::format("{}.return_dynamic_grid={}\n", name, pass.return_dynamic_grid));
    sha.Update(fmt::format("{}.simplify={}\n", name, pass.simplify));
  }
  return sha.HexDigest();
}

std::string ContentDigest(const Plan& plan) {
  Sha256 sha;
  sha.Update("splashmask content 1\n");
  const auto update = [&](const std::string& pass) {
    return [&sha, pass](const StoredField& field) {
      sha.Update(fmt::format("{}/{} dtype={} shape={}\n", pass, field.name, field.dtype,
                             fmt::join(field.shape, ",")));
      sha.Update(field.bytes());
    };
  };
  for (Pass which : kAllPasses) {
    if (!plan.pass(which)) continue;
    ForEachField(*plan.pass(which), update(std::string(PassName(which))));
  }
  for (Pass which : kTokamaxPasses) {
    if (!plan.tokamax_pass(which)) continue;
    ForEachField(*plan.tokamax_pass(which),
                 update(fmt::format("{}/{}", kTokamax, PassName(which))));
  }
  return sha.HexDigest();
}

}  // namespace

PlanDigests ComputeDigests(const Plan& plan) {
  PlanDigests digests;
  digests.mask_digest = MaskDigest(plan.mask);
  digests.plan_digest = PlanDigest(plan, digests.mask_digest);
  digests.content_digest = ContentDigest(plan);
  return digests;
}

}  // namespace splashmask
