// SPDX-License-Identifier: Apache-2.0
// Attention as custom calls of XLA on the CPU: one head group of one shard, tables as operands.
// What vmap puts in front of the operands' axes is computed here: the innermost axis as the batch
// of one call, unless the tables differ along it, and the others one after the other.

#include <fmt/format.h>
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "splashmask/kernels/attention.h"
#include "splashmask/masks/custom_function.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/node.h"
#include "splashmask/masks/parse.h"
#include "splashmask/python/ffi_operands.h"
#include "splashmask/python/mask_object.h"

namespace splashmask::python {

namespace {

namespace nb = nanobind;

// What a call consists of; the same bits in jax_cpu.py.
enum : int64_t { kHasSegmentIds = 1, kHasSinks = 2 };

// Functions of users' own, which calls name by number. They stay: a compiled call may come at any
// time.
class OwnFunctions {
 public:
  static constexpr std::string_view kPrefix = "function:";

  std::string Add(std::shared_ptr<const CustomFunction> function) {
    const std::lock_guard lock(adding_);
    functions_.push_back(std::move(function));
    return fmt::format("{}{}", kPrefix, functions_.size() - 1);
  }
  std::shared_ptr<const CustomFunction> Find(std::string_view name) {
    const std::lock_guard lock(adding_);
    size_t number = 0;
    const char* const begin = name.data() + kPrefix.size();
    const char* const end = name.data() + name.size();
    const auto [last, error] = std::from_chars(begin, end, number);
    if (error != std::errc() || last != end || number >= functions_.size()) {
      RefuseOperand(fmt::format("a function of this process, got {}", name));
    }
    return functions_[number];
  }

 private:
  std::mutex adding_;
  std::vector<std::shared_ptr<const CustomFunction>> functions_;
};

OwnFunctions& Functions() {
  static auto* const functions = new OwnFunctions;  // Never destroyed: Python may be gone by then.
  return *functions;
}

// How the axes in front are walked.
class Batches {
 public:
  // `fixed`: operands that a call has one of.
  Batches(const std::vector<const Operand*>& results, const std::vector<const Operand*>& fixed,
          const std::vector<const Operand*>& others) {
    const auto leading = results.front()->leading();
    outer_.assign(leading.begin(), leading.end());
    for (const Operand* result : results) result->RequireAxes(leading, false);
    for (const auto* operands : {&fixed, &others}) {
      for (const Operand* operand : *operands) operand->RequireAxes(leading, true);
    }
    if (outer_.empty()) return;
    const bool is_one_call = std::ranges::all_of(
        fixed, [](const Operand* operand) { return operand->BatchStride() == 0; });
    if (!is_one_call) return;
    batch_ = outer_.back();
    outer_.pop_back();
  }

  int64_t batch() const { return batch_; }

  template <typename Work>
  void ForEach(const Work& work) const {
    if (batch_ == 0 || std::ranges::count(outer_, 0) != 0) return;
    std::vector<int64_t> index(outer_.size());
    for (;;) {
      work(BatchIndex(index));
      size_t axis = outer_.size();
      while (axis > 0 && ++index[axis - 1] == outer_[axis - 1]) index[--axis] = 0;
      if (axis == 0) return;
    }
  }

 private:
  std::vector<int64_t> outer_;
  int64_t batch_ = 1;
};

// q, k, v, segment ids and sinks.
class InputOperands {
 public:
  InputOperands(const ffi::AnyBuffer& q, const ffi::AnyBuffer& k, const ffi::AnyBuffer& v,
                RemainingOperands& operands, int64_t has)
      : q_("q", q, 3), k_("k", k, 3), v_("v", v, 3) {
    if (has & kHasSegmentIds) {
      q_ids_ = operands.Next("q segment ids", 1);
      kv_ids_ = operands.Next("kv segment ids", 1);
      for (const auto* ids : {&q_ids_, &kv_ids_}) (*ids)->RequireType(ffi::DataType::S32, "int32");
    }
    if (has & kHasSinks) {
      sinks_ = operands.Next("sinks", 1);
      sinks_->RequireType(ffi::DataType::F32, "float32");
    }
  }

  const std::optional<Operand>& sinks() const { return sinks_; }
  // All but sinks.
  std::vector<const Operand*> all() const {
    std::vector<const Operand*> operands{&q_, &k_, &v_};
    if (q_ids_) operands.insert(operands.end(), {&*q_ids_, &*kv_ids_});
    return operands;
  }

  AttentionInputs At(BatchIndex index, int64_t batch) const {
    AttentionInputs inputs{
        ToTensor(q_, index, batch), ToTensor(k_, index, batch), ToTensor(v_, index, batch), {}, {}};
    const auto ids = [&](const Operand& operand) {
      const int64_t sequences = operand.BatchStride() == 0 ? 1 : batch;
      return std::span(operand.data<const int32_t>(index),
                       static_cast<size_t>(sequences * operand.size()));
    };
    if (q_ids_) inputs.segment_ids = AttentionSegmentIds{ids(*q_ids_), ids(*kv_ids_)};
    if (sinks_) {
      inputs.sinks = {sinks_->data<const float>(index), static_cast<size_t>(sinks_->size())};
    }
    return inputs;
  }

  // Attention obeys tables, whatever the mask.
  Plan EmptyPlan() const {
    const Mask any = Mask::Full({q_.shape()[1], k_.shape()[1]});
    return {MultiHeadMask(any, q_.shape()[0]), {}, {}, {}, {}};
  }

  std::optional<Mask> ReadFunction(std::string_view text) const {
    if (text.empty()) return std::nullopt;
    const Shape shape{q_.shape()[1], k_.shape()[1]};
    if (!text.starts_with(OwnFunctions::kPrefix)) return ParseMask(text, shape);
    return Mask::Custom(shape, Functions().Find(text));
  }

 private:
  Operand q_, k_, v_;
  std::optional<Operand> q_ids_, kv_ids_, sinks_;
};

AttentionOptions ReadOptions(float soft_cap) {
  AttentionOptions options;
  if (soft_cap != 0) options.attn_logits_soft_cap = soft_cap;
  return options;
}

// Attention over the tables at each index, made anew only where they differ from those before.
class AttentionOfTables {
 public:
  template <typename MakePlan>
  const SplashAttention& At(BatchIndex index, const std::vector<const Operand*>& tables,
                            float soft_cap, const MakePlan& make_plan) {
    std::vector<int64_t> offsets;
    for (const Operand* table : tables) offsets.push_back(table->Offset(index));
    if (!attention_ || offsets != offsets_) {
      attention_.emplace(make_plan(), ReadOptions(soft_cap));
      offsets_ = std::move(offsets);
    }
    return *attention_;
  }

 private:
  std::optional<SplashAttention> attention_;
  std::vector<int64_t> offsets_;
};

template <typename Work>
ffi::Error Guarded(const Work& work) {
  try {
    work();
    return ffi::Error::Success();
  } catch (const Error& error) {
    return ffi::Error::InvalidArgument(error.what());
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

Operand RowsOperand(const char* name, const ffi::AnyBuffer& buffer) {
  Operand operand(name, buffer, 2);
  operand.RequireType(ffi::DataType::F32, "float32");
  return operand;
}

ffi::Error Forward(ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, ffi::RemainingArgs rest,
                   ffi::Result<ffi::AnyBuffer> out, ffi::Result<ffi::AnyBuffer> logsumexp,
                   int64_t has, int64_t fwd_has, int64_t block_q, int64_t block_kv, float soft_cap,
                   std::string_view mask_function) {
  return Guarded([&] {
    RemainingOperands operands(rest);
    const InputOperands inputs(q, k, v, operands, has);
    const PassOperands fwd(operands, fwd_has, {block_q, block_kv});
    const std::optional<Mask> function = inputs.ReadFunction(mask_function);
    const Operand output("out", *out, 3), rows = RowsOperand("logsumexp", *logsumexp);
    if (rows.size() == 0) RefuseOperand("logsumexp of every row");
    const std::vector<const Operand*> tables = fwd.all();
    std::vector<const Operand*> fixed = tables;
    if (inputs.sinks()) fixed.push_back(&*inputs.sinks());
    const Batches batches({&output, &rows}, fixed, inputs.all());
    AttentionOfTables attention;
    batches.ForEach([&](BatchIndex index) {
      const auto make_plan = [&] {
        Plan plan = inputs.EmptyPlan();
        plan.fwd = fwd.Read(index, function);
        return plan;
      };
      attention.At(index, tables, soft_cap, make_plan)
          .Forward(inputs.At(index, batches.batch()), ToOutput(output, index, batches.batch()),
                   {rows.data<float>(index), static_cast<size_t>(batches.batch() * rows.size())});
    });
  });
}

ffi::Error Backward(ffi::AnyBuffer q, ffi::AnyBuffer k, ffi::AnyBuffer v, ffi::AnyBuffer out,
                    ffi::AnyBuffer logsumexp, ffi::AnyBuffer d_out, ffi::RemainingArgs rest,
                    ffi::Result<ffi::AnyBuffer> dq, ffi::Result<ffi::AnyBuffer> dk,
                    ffi::Result<ffi::AnyBuffer> dv, int64_t has, int64_t dkv_has, int64_t dq_has,
                    int64_t block_q_dkv, int64_t block_kv_dkv, int64_t block_q_dq,
                    int64_t block_kv_dq, float soft_cap, std::string_view mask_function) {
  return Guarded([&] {
    RemainingOperands operands(rest);
    const InputOperands inputs(q, k, v, operands, has);
    const PassOperands dkv(operands, dkv_has, {block_q_dkv, block_kv_dkv});
    std::optional<PassOperands> dq_tables;
    if (block_q_dq != 0) dq_tables.emplace(operands, dq_has, BlockShape{block_q_dq, block_kv_dq});
    const std::optional<Mask> function = inputs.ReadFunction(mask_function);
    const Operand output("out", out, 3), d_output("do", d_out, 3),
        rows = RowsOperand("logsumexp", logsumexp), d_q("dq", *dq, 3), d_k("dk", *dk, 3),
        d_v("dv", *dv, 3);
    std::vector<const Operand*> tables = dkv.all();
    if (dq_tables) {
      for (const Operand* table : dq_tables->all()) tables.push_back(table);
    }
    std::vector<const Operand*> others = inputs.all();
    others.insert(others.end(), {&output, &d_output, &rows});
    const Batches batches({&d_q, &d_k, &d_v}, tables, others);
    const int64_t batch = batches.batch();
    AttentionOfTables attention;
    std::vector<float> repeated;  // The rows of one sequence, for each of them.
    batches.ForEach([&](BatchIndex index) {
      const auto make_plan = [&] {
        Plan plan = inputs.EmptyPlan();
        plan.dkv = dkv.Read(index, function);
        plan.options.use_fused_bwd_kernel = !dq_tables;
        if (dq_tables) plan.dq = dq_tables->Read(index, function);
        return plan;
      };
      std::span<const float> of_rows{rows.data<const float>(index),
                                     static_cast<size_t>(rows.size())};
      if (batch > 1 && rows.BatchStride() == 0) {
        repeated.clear();
        for (int64_t b = 0; b < batch; ++b) {
          repeated.insert(repeated.end(), of_rows.begin(), of_rows.end());
        }
        of_rows = repeated;
      } else {
        of_rows = {of_rows.data(), static_cast<size_t>(batch) * of_rows.size()};
      }
      attention.At(index, tables, soft_cap, make_plan)
          .Backward(inputs.At(index, batch), {ToTensor(output, index, batch), of_rows},
                    ToTensor(d_output, index, batch),
                    {ToOutput(d_q, index, batch),
                     ToOutput(d_k, index, batch),
                     ToOutput(d_v, index, batch),
                     {}});
    });
  });
}

XLA_FFI_DEFINE_HANDLER(kForward, Forward,
                       ffi::Ffi::Bind()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .RemainingArgs()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<int64_t>("has")
                           .Attr<int64_t>("fwd_has")
                           .Attr<int64_t>("block_q")
                           .Attr<int64_t>("block_kv")
                           .Attr<float>("soft_cap")
                           .Attr<std::string_view>("mask_function"));

XLA_FFI_DEFINE_HANDLER(kBackward, Backward,
                       ffi::Ffi::Bind()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .RemainingArgs()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<int64_t>("has")
                           .Attr<int64_t>("dkv_has")
                           .Attr<int64_t>("dq_has")
                           .Attr<int64_t>("block_q_dkv")
                           .Attr<int64_t>("block_kv_dkv")
                           .Attr<int64_t>("block_q_dq")
                           .Attr<int64_t>("block_kv_dq")
                           .Attr<float>("soft_cap")
                           .Attr<std::string_view>("mask_function"));

}  // namespace

void BindFfiHandlers(nb::module_& m) {
  m.def(
      "ffi_targets",
      [] {
        nb::dict targets;
        targets["splashmask_forward"] = nb::capsule(reinterpret_cast<void*>(kForward));
        targets["splashmask_backward"] = nb::capsule(reinterpret_cast<void*>(kBackward));
        return targets;
      },
      "Custom calls of XLA by name, for jax.ffi.register_ffi_target.");
  m.def(
      "ffi_function",
      [](const MaskObject& mask) {
        return Functions().Add(std::get<node::Custom>(mask.mask().node().expr).function);
      },
      nb::arg("mask"), "Keeps a custom mask's function; returns what stands for it in a call.");
}

}  // namespace splashmask::python
