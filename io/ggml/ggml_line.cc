// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/ggml/ggml_line.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <system_error>

namespace splashmask {

std::optional<int64_t> ParseWhole(std::string_view text) {
  int64_t value = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || value < 0) return std::nullopt;
  const std::string_view fraction(rest, static_cast<size_t>(end - rest));
  if (fraction.empty()) return value;
  const bool is_zero = fraction.size() > 1 && fraction.front() == '.' &&
                       fraction.find_first_not_of('0', 1) == std::string_view::npos;
  return is_zero ? std::optional(value) : std::nullopt;
}

std::optional<std::string_view> TakeUntil(std::string_view& text, std::string_view end) {
  const size_t at = text.find(end);
  if (at == std::string_view::npos) return std::nullopt;
  const std::string_view taken = text.substr(0, at);
  text.remove_prefix(at + end.size());
  return taken;
}

std::optional<GgmlTensor> ParseGgmlTensor(std::string_view text, bool is_named) {
  GgmlTensor tensor;
  // From the right: a name may hold anything.
  const size_t bracket = text.rfind(", [");
  if (bracket == std::string_view::npos || !text.ends_with(']')) return std::nullopt;
  std::string_view extents = text.substr(bracket + 3);
  extents.remove_suffix(1);
  for (bool more = true; more;) {
    const auto extent = TakeUntil(extents, ", ");
    more = extent.has_value();
    const auto value = ParseWhole(more ? *extent : extents);
    if (!value) return std::nullopt;
    tensor.shape.push_back(*value);
  }
  std::string_view bytes = text.substr(0, bracket);
  if (is_named) {
    const size_t comma = bytes.rfind(", ");
    if (comma == std::string_view::npos || comma == 0) return std::nullopt;
    tensor.name = bytes.substr(0, comma);
    bytes.remove_prefix(comma + 2);
  }
  const auto value = ParseWhole(bytes);
  if (!value) return std::nullopt;
  tensor.bytes = *value;
  return tensor;
}

std::string GgmlShapeText(const std::vector<int64_t>& shape) {
  return fmt::format("[{}]", fmt::join(shape, ", "));
}

}  // namespace splashmask
