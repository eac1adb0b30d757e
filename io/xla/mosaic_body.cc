// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/xla/mosaic_body.h"

#include <fmt/format.h>

#include "splashmask/io/xla/mlir_bytecode.h"

namespace splashmask {

namespace {

std::optional<MlirAttribute> Find(const MlirBytecode::Dictionary& dictionary,
                                  std::string_view name) {
  for (const auto& [key, value] : dictionary) {
    if (key == name) return value;
  }
  return std::nullopt;
}

template <typename T>
T OfKind(std::optional<T> value, std::string_view name, std::string_view kind) {
  if (!value) throw UnreadableBytecode{fmt::format("its {} is no {}", name, kind)};
  return std::move(*value);
}

// "arbitrary" of "#tpu.dimension_semantics<arbitrary>".
std::string Enumerator(const MlirBytecode& file, MlirAttribute attribute, std::string_view name) {
  const std::string_view text = OfKind(file.AsText(attribute), name, "attribute in text");
  const size_t begin = text.find('<');
  if (begin == std::string_view::npos || !text.ends_with('>')) {
    throw UnreadableBytecode{fmt::format("its {} is no enumerator", name)};
  }
  return std::string(text.substr(begin + 1, text.size() - begin - 2));
}

int64_t IntegerOr0(const MlirBytecode& file, const MlirBytecode::Dictionary& dictionary,
                   std::string_view name) {
  const auto attribute = Find(dictionary, name);
  return attribute ? OfKind(file.AsInteger(*attribute), name, "integer") : 0;
}

std::vector<MlirAttribute> ArrayOrNone(const MlirBytecode& file,
                                       const MlirBytecode::Dictionary& dictionary,
                                       std::string_view name) {
  const auto attribute = Find(dictionary, name);
  if (!attribute) return {};
  return OfKind(file.AsArray(*attribute), name, "array");
}

MosaicWindow ReadWindow(const MlirBytecode& file, MlirAttribute attribute) {
  const auto window = OfKind(file.AsDictionary(attribute), "window_params", "list of dictionaries");
  MosaicWindow result;
  if (const auto bounds = Find(window, "window_bounds")) {
    result.bounds = OfKind(file.AsIntegers(*bounds), "window_bounds", "array of i64");
  }
  if (const auto transform = Find(window, "transform_indices")) {
    result.transform = OfKind(file.AsSymbol(*transform), "transform_indices", "symbol");
  }
  if (const auto mode = Find(window, "pipeline_mode")) {
    result.pipeline_mode = Enumerator(file, *mode, "pipeline_mode");
  }
  return result;
}

MosaicKernel ReadKernel(const MlirBytecode& file, const MlirBytecode::Dictionary& function) {
  MosaicKernel kernel;
  kernel.iteration_bounds = OfKind(file.AsIntegers(*Find(function, "iteration_bounds")),
                                   "iteration_bounds", "array of i64");
  if (const auto name = Find(function, "sym_name")) {
    kernel.function = OfKind(file.AsString(*name), "sym_name", "string");
  }
  kernel.scalar_prefetch = IntegerOr0(file, function, "scalar_prefetch");
  kernel.scratch_operands = IntegerOr0(file, function, "scratch_operands");
  for (MlirAttribute semantics : ArrayOrNone(file, function, "dimension_semantics")) {
    kernel.dimension_semantics.push_back(Enumerator(file, semantics, "dimension_semantics"));
  }
  for (MlirAttribute window : ArrayOrNone(file, function, "window_params")) {
    kernel.windows.push_back(ReadWindow(file, window));
  }
  return kernel;
}

// The kernel is the function with a grid. Its attributes are found among all of the file's, so that
// the encoding of operations, which changes most, is not needed.
MosaicKernel FindKernel(const MlirBytecode& file) {
  std::optional<MosaicKernel> kernel;
  for (MlirAttribute attribute = 0; attribute < file.num_attributes(); ++attribute) {
    const auto dictionary = file.AsDictionary(attribute);
    if (!dictionary || !Find(*dictionary, "iteration_bounds")) continue;
    if (kernel) throw UnreadableBytecode{"two of its functions have iteration_bounds"};
    kernel = ReadKernel(file, *dictionary);
  }
  if (!kernel) throw UnreadableBytecode{"no function of it has iteration_bounds"};
  return std::move(*kernel);
}

}  // namespace

MosaicBody ReadMosaicBody(std::string_view bytecode) {
  try {
    return {.kernel = FindKernel(MlirBytecode(bytecode)), .reason = {}};
  } catch (const UnreadableBytecode& error) {
    return {.kernel = std::nullopt,
            .reason = "the kernel's body cannot be read as MLIR bytecode: " + error.reason};
  }
}

}  // namespace splashmask
