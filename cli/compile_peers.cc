// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/compile_peers.h"

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "splashmask/cli/mask_tree.h"
#include "splashmask/cli/peer_scripts.h"
#include "splashmask/cli/plan_tables.h"
#include "splashmask/masks/digest.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

/// Arrays in files of the peers' folder; equal ones are one file.
class ArrayFiles {
 public:
  explicit ArrayFiles(const Peers& peers) : peers_(peers) {}

  json::value Write(const Array& array) {
    const auto known = std::ranges::find(written_, array, &std::pair<Array, json::value>::first);
    if (known != written_.end()) return known->second;
    const json::value described{
        {"file", peers_.WriteFile(fmt::format("{}.bin", written_.size()),
                                  {array.data(), static_cast<size_t>(array.size_bytes())})},
        {"dtype", std::string(DTypeName(array.dtype()))},
        {"shape", json::array(array.shape().begin(), array.shape().end())}};
    return written_.emplace_back(array, described).second;
  }

 private:
  const Peers& peers_;
  std::vector<std::pair<Array, json::value>> written_;
};

// Whether a peer has a field at all depends on its dialect.
constexpr const char* kJaxFields[] = {"data_next",           "mask_next",  "block_mask",
                                      "partial_mask_blocks", "q_sequence", "is_dynamic_mask"};
constexpr const char* kTokamaxFields[] = {"mask_next",  "active_rows",       "active_cols",
                                          "block_mask", "num_active_blocks", "partial_mask_blocks",
                                          "q_sequence"};

template <typename CompiledPass, typename Fields>
json::object TellPass(const CompiledPass& pass, const Fields& fields, const char* dtype_of_blocks) {
  json::object told;
  for (const char* field : fields) told[field] = nullptr;
  for (const PlanTable& table : PlanTables(pass.info)) {
    Sha256 sha;
    sha.Update(table.bytes);
    told[table.name] =
        json::array{table.dtype == "bool" ? dtype_of_blocks : table.dtype,
                    json::array(table.shape.begin(), table.shape.end()), sha.HexDigest()};
  }
  told["mask_function"] = pass.mask_function.has_value();
  return told;
}

/// "int8[1, 4, 4]", "None" or "true".
std::string FieldText(const json::value& field) {
  if (field.is_null()) return "None";
  const json::array* parts = field.if_array();
  if (parts == nullptr || parts->size() != 3 || !(*parts)[0].is_string()) {
    return json::serialize(field);
  }
  const auto shape = json::try_value_to<std::vector<int64_t>>((*parts)[1]);
  return std::string((*parts)[0].get_string()) + (shape ? ShapeText(*shape) : "");
}

}  // namespace

const PeerKinds& CompilePeers() {
  static const PeerKinds kinds{
      kCompilePeersScript, {{"jax", "JAX's process_mask"}, {"tokamax", "tokamax's process_mask"}}};
  return kinds;
}

void LoadMask(Peers& peers, const MultiHeadMask& mask, BlockShape block,
              const std::vector<Pass>& passes) {
  ArrayFiles files(peers);
  const auto array = [&](const Array& of) { return files.Write(of); };
  std::vector<Mask> distinct;
  json::array trees, heads, names;
  for (const Mask& head : mask.masks()) {
    const auto known = std::ranges::find(distinct, head);
    heads.push_back(known - distinct.begin());
    if (known != distinct.end()) continue;
    distinct.push_back(head);
    trees.push_back(MaskTree(head, array));
  }
  for (const Pass pass : passes) names.push_back(json::value(PassName(pass)));
  peers.Load({{"shape", {mask.shape().q_len, mask.shape().kv_len}},
              {"block", {block.q, block.kv}},
              {"passes", names},
              {"masks", trees},
              {"heads", heads}});
}

json::object TellTables(const Plan& plan) {
  json::object told;
  for (const Pass pass : kAllPasses) {
    if (plan.pass(pass)) told[PassName(pass)] = TellPass(*plan.pass(pass), kJaxFields, "bool");
  }
  for (const Pass pass : kTokamaxPasses) {
    if (!plan.tokamax_pass(pass)) continue;
    told[PassName(pass)] = TellPass(*plan.tokamax_pass(pass), kTokamaxFields, "int8");
  }
  return told;
}

json::object TellTables(Peers& peers, const std::string& name) {
  return Answered<json::object>(peers.Tell(name), "passes");
}

std::string FirstDifference(const json::object& ours, const json::object& theirs) {
  for (const auto& [pass, fields] : ours) {
    const json::value* told = theirs.if_contains(pass);
    if (told == nullptr || !told->is_object())
      return fmt::format("tables have no {}", std::string(pass));
    for (const auto& [name, expected] : fields.get_object()) {
      const json::value* got = told->get_object().if_contains(name);
      if (got != nullptr && *got == expected) continue;
      const std::string texts[] = {FieldText(expected),
                                   got == nullptr ? "nothing" : FieldText(*got)};
      return fmt::format("{} {}: expected {}, got {}", std::string(pass), std::string(name),
                         texts[0], texts[0] == texts[1] ? "other values" : texts[1]);
    }
    if (told->get_object().size() != fields.get_object().size()) {
      return fmt::format("{}: expected {} fields, got {}", std::string(pass),
                         fields.get_object().size(), told->get_object().size());
    }
  }
  return "";
}

}  // namespace splashmask::cli
