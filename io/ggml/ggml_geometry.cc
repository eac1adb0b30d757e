// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/ggml/ggml_geometry.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <boost/unordered/unordered_flat_map.hpp>
#include <cstddef>
#include <string>
#include <string_view>

#include "splashmask/io/ggml/ggml_line.h"
#include "splashmask/masks/error.h"

namespace splashmask {

namespace {

/// What must be equal in all layers.
struct Field {
  const char* name;
  int64_t ModelGeometry::*member;
};
constexpr Field kLayerFields[] = {
    {"heads", &ModelGeometry::heads},       {"kv heads", &ModelGeometry::kv_heads},
    {"head_dim", &ModelGeometry::head_dim}, {"head_dim of v", &ModelGeometry::head_dim_v},
    {"q_len", &ModelGeometry::q_len},       {"kv_len", &ModelGeometry::kv_len},
    {"context", &ModelGeometry::context}};

// 12 of "kq-12" for the prefix "kq-".
std::optional<int64_t> NumberAfter(std::string_view prefix, std::string_view name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  if (name.find_first_not_of("0123456789") != std::string_view::npos) return std::nullopt;
  return ParseWhole(name);
}

class GeometryReader {
 public:
  explicit GeometryReader(const GgmlListing& listing) : listing_(listing) {}

  ModelGeometry Read() {
    for (const GgmlNode& node : listing_.nodes) {
      source_of_.push_back(SourceOf(node));
      for (const GgmlInput& input : node.inputs) {
        if (!input.node && stored_.try_emplace(input.name, &input).second) AddStored(node, input);
      }
      if (node.operation != "X*Y (MAT_MUL)") continue;
      if (const auto layer = NumberAfter("kq-", node.name)) AddScores(node, *layer);
      if (const auto layer = NumberAfter("kqv-", node.name)) AddValues(node, *layer);
    }
    if (layers_.empty()) {
      Fail(fmt::format("expected attention nodes kq-0, kq-1, ..., got none in {} nodes",
                       listing_.nodes.size()));
    }
    if (layers_.back().head_dim_v == 0) FailMissingValues();
    for (size_t i = 1; i < layers_.size(); ++i) CheckEqual(i);
    return Summarize();
  }

 private:
  struct Layer : ModelGeometry {
    int64_t line = 0;  // Of its first attention node.
  };

  [[noreturn]] void Fail(const std::string& what) const {
    throw Error(ErrorCode::kInvalidArgument, fmt::format("[ggml] {}: {}", listing_.file, what));
  }
  [[noreturn]] void Fail(int64_t line, const std::string& what) const {
    Fail(fmt::format("line {}: {}", line, what));
  }
  [[noreturn]] void FailMissingValues() const {
    const size_t last = layers_.size() - 1;
    Fail(layers_.back().line,
         fmt::format("expected a node kqv-{} after kq-{}, got none", last, last));
  }

  // What a node's first input is a view or permutation of, however often: one that no node
  // computes. Nodes come after what they compute from, so its own source is known.
  const GgmlInput* SourceOf(const GgmlNode& node) const {
    if (node.inputs.empty()) return nullptr;
    const GgmlInput& first = node.inputs.front();
    return first.node ? source_of_[*first.node] : &first;
  }

  void AddStored(const GgmlNode& node, const GgmlInput& input) {
    const std::string_view name = input.name;
    const bool is_weight = name.ends_with(".weight") || name.ends_with(".bias");
    if (is_weight) {
      Add(node, weight_bytes_, input);
      const std::string_view block = name.substr(0, name.find('.', 4));
      if (const auto layer = NumberAfter("blk.", block)) Add(node, bytes_of_layer_[*layer], input);
    }
    if (name.starts_with("cache_")) Add(node, cache_bytes_, input);
  }

  void Add(const GgmlNode& node, int64_t& sum, const GgmlInput& input) const {
    if (__builtin_add_overflow(sum, input.bytes, &sum)) {
      Fail(node.line, "expected weights and caches within 64 bits of bytes, got more");
    }
  }

  // Products of an attention layer have two inputs of three extents, the innermost one shared.
  void CheckProduct(const GgmlNode& node) const {
    const auto& in = node.inputs;
    bool fits = in.size() == 2 && node.shape.size() == 3;
    for (const GgmlInput& input : in) {
      fits = fits && input.shape.size() == 3;
      for (const int64_t extent : input.shape) fits = fits && extent > 0;
    }
    fits = fits && in[0].shape[0] == in[1].shape[0] && in[1].shape[2] % in[0].shape[2] == 0 &&
           node.shape == std::vector{in[0].shape[1], in[1].shape[1], in[1].shape[2]};
    if (fits) return;
    std::vector<std::string> got;
    for (const GgmlInput& input : in) got.push_back(GgmlShapeText(input.shape));
    Fail(node.line,
         fmt::format("expected '{}' to be [n, a, kv heads] * [n, b, heads] = [a, b, heads], got "
                     "{} = {}",
                     node.name, fmt::join(got, " * "), GgmlShapeText(node.shape)));
  }

  // kq = k [head_dim, kv_len, kv_heads] * q [head_dim, q_len, heads].
  void AddScores(const GgmlNode& node, int64_t number) {
    const auto expected = static_cast<int64_t>(layers_.size());
    if (number != expected) {
      Fail(node.line,
           fmt::format("expected kq-{} as the next attention node, got '{}'", expected, node.name));
    }
    if (expected > 0 && layers_.back().head_dim_v == 0) FailMissingValues();
    CheckProduct(node);
    Layer layer;
    layer.line = node.line;
    const std::vector<int64_t>& k = node.inputs[0].shape;
    layer.head_dim = k[0];
    layer.kv_len = k[1];
    layer.kv_heads = k[2];
    layer.q_len = node.inputs[1].shape[1];
    layer.heads = node.inputs[1].shape[2];
    layer.context = Context(node, layer);
    layers_.push_back(layer);
  }

  // A cache is a row of all its keys.
  int64_t Context(const GgmlNode& node, const Layer& layer) const {
    const GgmlInput* cache = source_of_.back();
    if (cache == nullptr || !cache->name.starts_with("cache_k")) {
      Fail(node.line, fmt::format("expected the first input of '{}' to be a view of a cache_k, got "
                                  "one of '{}'",
                                  node.name, cache == nullptr ? "none" : cache->name));
    }
    int64_t keys = 0, elements = 1;
    bool fits = !__builtin_mul_overflow(layer.head_dim, layer.kv_heads, &keys);
    for (const int64_t extent : cache->shape) {
      fits = fits && !__builtin_mul_overflow(elements, extent, &elements);
    }
    if (!fits || elements % keys != 0 || elements / keys < layer.kv_len) {
      Fail(node.line,
           fmt::format("expected '{}' to hold {} or more positions of {} * {} keys, got {}",
                       cache->name, layer.kv_len, layer.kv_heads, layer.head_dim,
                       GgmlShapeText(cache->shape)));
    }
    return elements / keys;
  }

  // kqv = v [kv_len, head_dim, kv_heads] * softmax(kq) [kv_len, q_len, heads].
  void AddValues(const GgmlNode& node, int64_t number) {
    if (number + 1 != static_cast<int64_t>(layers_.size()) || layers_.back().head_dim_v != 0) {
      Fail(node.line, fmt::format("expected one node '{0}', after kq-{1}, got it {2}", node.name,
                                  number, layers_.empty() ? "first" : "elsewhere"));
    }
    CheckProduct(node);
    Layer& layer = layers_.back();
    const std::vector<int64_t>&v = node.inputs[0].shape, &kq = node.inputs[1].shape;
    if (kq != std::vector{layer.kv_len, layer.q_len, layer.heads} || v[2] != layer.kv_heads) {
      Fail(node.line,
           fmt::format("expected '{}' to multiply [{}, head_dim, {}] and [{}, {}, {}] as kq-{} "
                       "does, got {} and {}",
                       node.name, layer.kv_len, layer.kv_heads, layer.kv_len, layer.q_len,
                       layer.heads, number, GgmlShapeText(v), GgmlShapeText(kq)));
    }
    layer.head_dim_v = v[1];
  }

  void CheckEqual(size_t i) const {
    const auto fail = [&](const char* name, const std::string& expected, const std::string& got) {
      Fail(layers_[i].line, fmt::format("expected layer {} to have {} {} as layer 0 has, got {}", i,
                                        name, expected, got));
    };
    for (const auto& [name, member] : kLayerFields) {
      if (layers_[i].*member != layers_[0].*member) {
        fail(name, std::to_string(layers_[0].*member), std::to_string(layers_[i].*member));
      }
    }
    const auto text = [](const std::optional<int64_t>& n) {
      return n ? std::to_string(*n) : "none";
    };
    if (FeedForward(i) != FeedForward(0)) {
      fail("feed_forward", text(FeedForward(0)), text(FeedForward(i)));
    }
  }

  // The rows of a stored matrix that bears this name.
  std::optional<int64_t> FeedForward(size_t layer) const {
    const auto found = stored_.find(fmt::format("blk.{}.ffn_up.weight", layer));
    if (found == stored_.end() || found->second->shape.size() < 2) return std::nullopt;
    return found->second->shape[1];
  }

  ModelGeometry Summarize() const {
    ModelGeometry geometry = layers_.front();
    geometry.layers = static_cast<int64_t>(layers_.size());
    const auto table = stored_.find("token_embd.weight");
    if (table == stored_.end() || table->second->shape.size() != 2) {
      Fail("expected a weight token_embd.weight of two extents, got none");
    }
    geometry.embedding = table->second->shape[0];
    geometry.vocabulary = table->second->shape[1];
    geometry.feed_forward = FeedForward(0);
    geometry.weight_bytes = weight_bytes_;
    geometry.cache_bytes = cache_bytes_;
    for (int64_t layer = 0; layer < geometry.layers; ++layer) {
      const auto found = bytes_of_layer_.find(layer);
      geometry.layer_weight_bytes.push_back(found == bytes_of_layer_.end() ? 0 : found->second);
    }
    return geometry;
  }

  const GgmlListing& listing_;
  std::vector<const GgmlInput*> source_of_;  // Of each node so far.
  std::vector<Layer> layers_;
  boost::unordered_flat_map<std::string_view, const GgmlInput*> stored_;  // What no node computes.
  boost::unordered_flat_map<int64_t, int64_t> bytes_of_layer_;
  int64_t weight_bytes_ = 0, cache_bytes_ = 0;
};

}  // namespace

ModelGeometry GeometryOf(const GgmlListing& listing) { return GeometryReader(listing).Read(); }

}  // namespace splashmask
