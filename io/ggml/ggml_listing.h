// SPDX-License-Identifier: Apache-2.0
#pragma once
// Cost listings of ggml graphs: what every node of a model's graph computes, reads and holds.

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace splashmask {

/// What a node computes from.
struct GgmlInput {
  char letter = 'x';  ///< As the node's operation calls it.
  std::string name;
  int64_t bytes = 0;
  std::vector<int64_t> shape;  ///< As ggml writes shapes: the innermost extent first.
  /// The index of the node whose output this is; none for weights, caches and what the graph is
  /// given.
  std::optional<size_t> node;
};

/// One entry of a node's costs, under the listing's own name.
struct GgmlCost {
  std::string name;
  int64_t amount = 0;
};

/// One computation.
struct GgmlNode {
  std::string name;             ///< Of its output; several nodes may share one.
  std::string operation;        ///< The listing's text: "X*Y (MAT_MUL)".
  int64_t bytes = 0;            ///< Of its output.
  std::vector<int64_t> shape;   ///< Of its output.
  std::vector<GgmlCost> costs;  ///< In the listing's order, "tempsize" included.
  std::vector<GgmlInput> inputs;
  std::optional<int64_t> layer;  ///< Of the last heading "== layer N ==" above it.
  bool is_used = true;           ///< False: "not used by other computations".
  int64_t line = 0;              ///< Where it begins, counted from 1.
};

/// A total of the header, which the nodes have been found to add up to.
///
/// A total has its costs' unit. The nodes' `write` counts *bits* (a store of 2048 bytes costs
/// 16384), and yet the header divides its sum by 2^30 and calls the result GiB: 88 layers that
/// store 2 * 2048 bytes each show as "0.003 GiB" (2883584 / 2^30 = 0.0027) where 352 KiB are
/// written. Both numbers stay as the listing has them.
struct GgmlTotal {
  std::string name;    ///< "read", "fmul", ...
  std::string stated;  ///< The header's text: "64.135 GiB", "1.22288e+11".
  int64_t amount = 0;  ///< The exact sum over all nodes.
  int64_t line = 0;
};

/// A listing whose parts agree with each other.
struct GgmlListing {
  std::string file;                ///< For messages.
  std::vector<GgmlTotal> totals;   ///< In the header's order.
  int64_t peak_temporary_bytes{};  ///< The largest "tempsize", which the header states too.
  std::vector<GgmlNode> nodes;     ///< In the order in which they run.
};

/// Reads a listing. Throws kNotFound, kIo, kTooLarge, and as ParseGgmlListing does.
GgmlListing ReadGgmlListing(const std::string& path);

/// Parses the text of a listing in time proportional to its size; `file` names it in messages. The
/// drawing at the left tells nothing that the names of inputs do not, and is not looked at.
///
/// Throws kInvalidArgument with the line and what was expected there for text of another form
/// (numbers must be whole: "49152.0" is, "0.5" is not), and with both numbers where the listing
/// contradicts itself: totals and peak that the nodes do not add up to within the rounding of
/// what is printed, inputs of another size than the output they name, nodes that nothing uses
/// though nothing says so, or the other way round.
GgmlListing ParseGgmlListing(std::string_view text, const std::string& file);

}  // namespace splashmask
