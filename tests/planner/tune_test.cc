// SPDX-License-Identifier: Apache-2.0
// The block sizes that Tune takes, against all that there are, each compiled and judged by itself.

#include "splashmask/planner/cost/tune.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "splashmask/masks/print.h"
#include "splashmask/planner/compile/compile.h"
#include "splashmask/planner/compile/plans_of_blocks.h"
#include "splashmask/planner/cost/hbm_use.h"
#include "tests/support/expect_error.h"
#include "tests/support/random_case.h"
#include "tests/support/sample_size.h"
#include "tests/support/uniform.h"

namespace splashmask {
namespace {

template <typename T>
T Pick(std::mt19937_64& random, std::vector<T> values) {
  return values[static_cast<size_t>(Uniform(random, 0, std::ssize(values) - 1))];
}

struct Question {
  MultiHeadMask mask;
  PlanOptions plan;
  AttentionConfig config;
  TuneOptions options;
  const TpuSpec* spec;
};

Question RandomQuestion(std::mt19937_64& random) {
  PlanOptions plan;
  plan.q_seq_shards = Uniform(random, 1, 2);
  plan.head_shards = Uniform(random, 1, 2);
  const Shape shape{128 * plan.q_seq_shards * Pick<int64_t>(random, {1, 2, 4, 6}),
                    128 * Pick<int64_t>(random, {1, 2, 3, 6, 8})};
  const Mask first = RandomMask(random, shape, static_cast<int>(Uniform(random, 0, 2)));
  std::vector<Mask> heads(4, first);
  if (Uniform(random, 0, 2) == 0) {
    heads[1] = heads[3] = RandomMask(random, shape, static_cast<int>(Uniform(random, 0, 2)));
  }
  AttentionConfig config;
  // Of some, HBM holds one layout and not another.
  config.batch = Pick<int64_t>(random, {1, 1, 8, 20000, 40000});
  config.heads = 4 / plan.head_shards;
  config.kv_heads = Pick<int64_t>(random, {1, config.heads});
  config.q_len = shape.q_len / plan.q_seq_shards;
  config.kv_len = shape.kv_len;
  config.head_dim = Pick<int64_t>(random, {64, 128, 192, 256});
  config.head_dim_v = Pick<int64_t>(random, {64, 128});
  config.dtype = Pick(random, std::vector{OperandDType::kBFloat16, OperandDType::kFloat32});
  config.segments = Uniform(random, 0, 2) == 0;
  TuneOptions options;
  options.backward = Uniform(random, 0, 3) > 0;
  if (Uniform(random, 0, 2) == 0) options.use_fused_bwd_kernel = Uniform(random, 0, 1) == 1;
  if (Uniform(random, 0, 1) == 0) options.k_layout = QkvLayout::kHeadDimMinor;
  if (Uniform(random, 0, 1) == 0) options.v_layout = QkvLayout::kSeqMinor;
  const TpuSpec& spec = AllTpuSpecs()[static_cast<size_t>(Uniform(random, 0, 4))];
  options.scoped_vmem_limit = Pick<int64_t>(random, {0, 2 << 20, 8 << 20});
  return {MultiHeadMask(heads), plan, config, options, &spec};
}

// The time of one kernel with its tables compiled for it; infinite where it does not surely fit.
double NaiveTime(const Question& question, TpuKernel kernel, const BlockSizes& sizes) {
  constexpr double kNever = std::numeric_limits<double>::infinity();
  AttentionConfig config = question.config;
  config.block_sizes = sizes;
  try {
    CheckAttentionConfig(config);
  } catch (const Error&) {
    return kNever;
  }
  const KernelBlocks blocks = BlocksOf(sizes, kernel);
  const Pass pass = PassOf(kernel);
  CompileOptions options;
  options.plan = question.plan;
  options.plan.use_fused_bwd_kernel = kernel == TpuKernel::kFused;
  options.block(pass) = BlockShape{blocks.q, blocks.kv};
  const Plan plan = Compile(question.mask, options);
  const int64_t limit = question.options.scoped_vmem_limit > 0 ? question.options.scoped_vmem_limit
                                                               : question.spec->scoped_vmem_bytes;
  const PassTables tables = TablesOf(plan.pass(pass)->info, plan.options);
  if (FootprintOf(*question.spec, kernel, config, tables, limit).fit() != Fit::kFits) return kNever;
  const ProgramTables program = ProgramTablesOf(plan.pass(pass)->info, plan.options);
  if (HbmUseOf(*question.spec, kernel, config, program).fit != Fit::kFits) return kNever;
  const int64_t kv_heads = config.kv_heads == 1 ? 1 : config.kv_heads * plan.options.head_shards;
  double slowest = 0;
  for (const StepCounts& counts : CountSteps(plan, pass, kv_heads)) {
    slowest = std::max(slowest, PredictTime(*question.spec, kernel, config, counts).total());
  }
  return slowest;
}

std::vector<int64_t> MultiplesThatDivide(int64_t length) {
  std::vector<int64_t> sizes;
  for (int64_t size = 128; size <= std::min<int64_t>(length, 4096); size += 128) {
    if (length % size == 0) sizes.push_back(size);
  }
  return sizes;
}

double NaiveBestOf(const Question& question, TpuKernel kernel, const BlockSizes& layouts) {
  double best = std::numeric_limits<double>::infinity();
  for (const int64_t q : MultiplesThatDivide(question.config.q_len)) {
    for (const int64_t kv : MultiplesThatDivide(question.config.kv_len)) {
      for (const int64_t compute : MultiplesThatDivide(kv)) {
        if (kernel == TpuKernel::kDq && compute != kv) continue;
        BlockSizes sizes = WithBlocks(layouts, kernel, {q, kv, compute});
        sizes.use_fused_bwd_kernel = kernel == TpuKernel::kFused;
        best = std::min(best, NaiveTime(question, kernel, sizes));
      }
    }
  }
  return best;
}

double NaiveBest(const Question& question) {
  const TuneOptions& options = question.options;
  double best = std::numeric_limits<double>::infinity();
  for (int bits = 0; bits < 8; ++bits) {
    const auto layout = [&](int bit) {
      return bits >> bit & 1 ? QkvLayout::kSeqMinor : QkvLayout::kHeadDimMinor;
    };
    BlockSizes layouts;
    layouts.q_layout = layout(0);
    layouts.k_layout = layout(1);
    layouts.v_layout = layout(2);
    if (options.q_layout && options.q_layout != layouts.q_layout) continue;
    if (options.k_layout && options.k_layout != layouts.k_layout) continue;
    if (options.v_layout && options.v_layout != layouts.v_layout) continue;
    const auto of = [&](TpuKernel kernel) { return NaiveBestOf(question, kernel, layouts); };
    if (!options.backward) {
      best = std::min(best, of(TpuKernel::kFwd));
      continue;
    }
    double backward = std::numeric_limits<double>::infinity();
    if (options.use_fused_bwd_kernel != true) backward = of(TpuKernel::kDq) + of(TpuKernel::kDkv);
    if (options.use_fused_bwd_kernel != false) {
      backward = std::min(backward, of(TpuKernel::kFused));
    }
    best = std::min(best, of(TpuKernel::kFwdResiduals) + backward);
  }
  return best;
}

// Few of the blocks are easy to look at.
PlanOfBlocks PlansFor(const Question& question, int64_t easy_blocks = int64_t{1} << 20) {
  return PlansOfBlocks(question.mask, FinestTunedBlocks(question.config),
                       {.plan = question.plan,
                        .most_bytes = SmemOfShards(*question.spec, question.plan),
                        .threads = 1,
                        .easy_blocks = easy_blocks});
}

TEST(TuneTest, NothingThatFitsIsFaster) {
  std::mt19937_64 random(1);
  int64_t tuned = 0;
  for (size_t i = 0; i < SampleSize(60); ++i) {
    const Question question = RandomQuestion(random);
    SCOPED_TRACE(::testing::Message() << "case " << i << ": " << ToString(question.mask));
    const double expected = NaiveBest(question);
    if (expected == std::numeric_limits<double>::infinity()) {
      try {
        const TuneResult result =
            Tune(*question.spec, question.config, question.options, PlansFor(question));
        EXPECT_EQ(result.best.fit(), Fit::kTooClose);
      } catch (const Error& error) {
        EXPECT_EQ(error.code(), ErrorCode::kInvalidArgument);
      }
      continue;
    }
    ++tuned;
    const TuneResult result = Tune(*question.spec, question.config, question.options,
                                   PlansFor(question, Pick<int64_t>(random, {1, 4, 1 << 20})));
    EXPECT_NEAR(result.best.seconds(), expected, expected * 1e-12);
    EXPECT_EQ(result.best.fit(), Fit::kFits);
    double by_itself = 0;
    for (const KernelChoice& choice : result.best.kernels) {
      EXPECT_EQ(choice.best.blocks, BlocksOf(result.best.sizes, choice.best.kernel));
      by_itself += NaiveTime(question, choice.best.kernel, result.best.sizes);
      double last = choice.best.time.total();
      for (const TunedKernel& other : choice.runners_up) {
        EXPECT_GE(other.time.total(), last);
        last = other.time.total();
      }
    }
    EXPECT_NEAR(by_itself, expected, expected * 1e-12);
    double last = result.best.seconds();
    for (const TunedCall& other : result.others) {
      if (other.fit() != Fit::kFits) break;
      EXPECT_GE(other.seconds(), last);
      last = other.seconds();
    }
  }
  EXPECT_GT(2 * tuned, static_cast<int64_t>(SampleSize(60)));
}

Question Causal(int64_t length, int64_t heads = 8) {
  AttentionConfig config;
  config.heads = config.kv_heads = heads;
  config.q_len = config.kv_len = length;
  return {MultiHeadMask(std::vector<Mask>(heads, Mask::Causal({length, length}))),
          {},
          config,
          {},
          &FindTpuSpec("v6e")};
}

TEST(TuneTest, FixedLayoutsAndBackwardKernelsAreKept) {
  Question question = Causal(1024);
  for (const bool is_fused : {false, true}) {
    question.options.use_fused_bwd_kernel = is_fused;
    question.options.q_layout = QkvLayout::kSeqMinor;
    question.options.k_layout = QkvLayout::kHeadDimMinor;
    const TuneResult result =
        Tune(*question.spec, question.config, question.options, PlansFor(question));
    EXPECT_EQ(result.others.size(), 1);  // v may lie either way.
    for (const TunedCall& call : {result.best, result.others.front()}) {
      EXPECT_EQ(call.sizes.use_fused_bwd_kernel, is_fused);
      EXPECT_EQ(call.sizes.has_dq(), !is_fused);
      EXPECT_EQ(call.sizes.q_layout, QkvLayout::kSeqMinor);
      EXPECT_EQ(call.sizes.k_layout, QkvLayout::kHeadDimMinor);
    }
  }
}

TEST(TuneTest, EveryCandidateIsAccountedFor) {
  // Of 1024 positions blocks of 128, 256, 512 and 1024: 4 of q, 4 of kv with 1, 2, 3 and 4 parts.
  Question question = Causal(1024);
  question.options.backward = false;
  question.options.runners_up = 1000;
  question.options.q_layout = question.options.k_layout = question.options.v_layout =
      QkvLayout::kHeadDimMinor;
  const TuneResult result =
      Tune(*question.spec, question.config, question.options, PlansFor(question));
  EXPECT_EQ(result.candidates, 4 * (1 + 2 + 3 + 4));
  const KernelChoice& choice = result.best.kernels.front();
  EXPECT_EQ(std::ssize(choice.runners_up) + 1 + result.beyond_vmem + result.beyond_smem +
                result.beyond_hbm + result.undecided,
            result.candidates);
  const auto close = std::ranges::count_if(choice.runners_up, [&](const TunedKernel& other) {
    return other.time.total() < choice.best.time.total() * (1 + kComparisonError);
  });
  EXPECT_EQ(choice.as_good, close);
}

TEST(TuneTest, PartsOfDqThatHbmDoesNotHold) {
  // 2^20 positions of 8 heads in 128 lanes of bfloat16: 2 GiB for each block of kv, and a v6e has
  // 32 GiB. So at most 16 blocks, of 65,536: none of up to 4096 will do.
  Question question = Causal(1 << 20);
  question.options.scoped_vmem_limit = 64 << 20;
  const TuneResult result =
      Tune(*question.spec, question.config, question.options, PlansFor(question));
  EXPECT_FALSE(result.best.sizes.use_fused_bwd_kernel);
  EXPECT_GT(result.beyond_hbm, 0);
  for (const TunedCall& call : result.others) EXPECT_FALSE(call.sizes.use_fused_bwd_kernel);
}

TEST(TuneTest, LayoutsThatHbmDoesNotHold) {
  // Of 64 elements, tiles of 128 lanes are twice as large as those with q positions in the lanes.
  Question question = Causal(32768, 32);
  question.config.batch = 30;
  question.config.head_dim = question.config.head_dim_v = 64;
  question.options.backward = false;
  const TuneResult result =
      Tune(*question.spec, question.config, question.options, PlansFor(question));
  EXPECT_EQ(result.best.fit(), Fit::kFits);
  EXPECT_GT(result.beyond_hbm, 0);
  for (const TunedCall& call : result.others) {
    AttentionConfig config = question.config;
    config.block_sizes = call.sizes;
    CompileOptions compile;
    compile.fwd = BlockShape{call.sizes.block_q, call.sizes.block_kv};
    const Plan plan = Compile(question.mask, compile);
    const HbmUse use = HbmUseOf(*question.spec, TpuKernel::kFwd, config,
                                ProgramTablesOf(plan.fwd->info, plan.options));
    EXPECT_EQ(use.total(), call.kernels.front().best.hbm_bytes);
    EXPECT_LE(use.total(), question.spec->hbm_limit_bytes);
  }
  question.options.q_layout = question.options.k_layout = question.options.v_layout =
      QkvLayout::kHeadDimMinor;
  ExpectErrorBegins(
      ErrorCode::kInvalidArgument, "[tune] expected fwd to fit 33543694581 bytes of HBM, got ",
      [&] { (void)Tune(*question.spec, question.config, question.options, PlansFor(question)); });
}

TEST(TuneTest, LengthsWithoutWholeLanes) {
  // 1000 positions of q are one block. 5000 are too many for one: multiples of 8 that divide them
  // (1, 5, 25, 125 times 8) where q lies in sublanes. Of 1024 of kv there are 4, in 10 compute
  // blocks; k and v lie either way.
  for (const auto& [q_len, blocks, layouts] : {std::tuple{1000, 1, 8}, {5000, 4, 4}}) {
    Question question = Causal(1024);
    question.mask = MultiHeadMask(std::vector<Mask>(8, Mask::Full({q_len, 1024})));
    question.config.q_len = q_len;
    question.options.backward = false;
    const TuneResult result =
        Tune(*question.spec, question.config, question.options, PlansFor(question));
    EXPECT_EQ(result.best.sizes.block_q, 1000);
    EXPECT_EQ(result.candidates, blocks * 10 * layouts);
  }
}

TEST(TuneTest, AxesWithoutLegalBlocks) {
  const auto tune = [](int64_t q_len, int64_t kv_len, bool backward) {
    AttentionConfig config;
    config.q_len = q_len;
    config.kv_len = kv_len;
    TuneOptions options;
    options.backward = backward;
    (void)Tune(FindTpuSpec("v6e"), config, options, nullptr);
  };
  ExpectError(ErrorCode::kInvalidArgument,
              "[tune] expected kv_len (1000) to be a multiple of 128, as blocks of kv are: pad it "
              "to 1024",
              [&] { tune(1024, 1000, true); });
  ExpectError(ErrorCode::kInvalidArgument,
              "[tune] expected q_len (5000) to be a multiple of 128, as blocks of q are where q "
              "positions lie in lanes: pad it to 5120",
              [&] { tune(5000, 1024, true); });
  ExpectError(ErrorCode::kInvalidArgument,
              "[tune] expected q_len (5000) to be a multiple of 128, as blocks of q are where q "
              "positions lie in lanes: pad it to 5120",
              [&] {
                Question question = Causal(1024);
                question.config.q_len = 5000;
                question.options.backward = false;
                question.options.q_layout = QkvLayout::kSeqMinor;
                (void)Tune(*question.spec, question.config, question.options, nullptr);
              });
  ExpectError(ErrorCode::kInvalidArgument,
              "[tune] expected q_len (5001) to be a multiple of 128, as blocks of q are: pad it to "
              "5120",
              [&] { tune(5001, 1024, false); });
}

TEST(TuneTest, LimitsThatNothingFits) {
  Question question = Causal(1024);
  question.options.scoped_vmem_limit = 1 << 10;
  ExpectErrorBegins(
      ErrorCode::kInvalidArgument, "[tune] expected a scoped VMEM limit of at least ",
      [&] { (void)Tune(*question.spec, question.config, question.options, PlansFor(question)); });
  const PlanOfBlocks no_tables = [](Pass, BlockShape, bool) { return std::optional<Plan>(); };
  ExpectError(ErrorCode::kInvalidArgument,
              "[tune] expected tables of fwd_residuals that SMEM holds, got none with blocks of up "
              "to 4096: shard heads or q",
              [&] { (void)Tune(*question.spec, question.config, question.options, no_tables); });
}

TEST(TuneTest, TokamaxHasNoDqKernel) {
  Question question = Causal(1024);
  question.options.call.library = SplashLibrary::kTokamax;
  question.options.use_fused_bwd_kernel = false;
  ExpectError(ErrorCode::kInvalidArgument,
              "[tune] expected the fused backward kernel, as tokamax has no other", [&] {
                (void)Tune(*question.spec, question.config, question.options, PlansFor(question));
              });
}

}  // namespace
}  // namespace splashmask
