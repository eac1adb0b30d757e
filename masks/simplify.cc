// SPDX-License-Identifier: Apache-2.0
#include "splashmask/masks/simplify.h"

#include <unordered_map>
#include <utility>
#include <vector>

#include "splashmask/masks/node.h"
#include "splashmask/masks/simplify/rewriter.h"

namespace splashmask {

Mask Simplify(const Mask& mask) {
  try {
    const Mask simple = simplify::Rewriter(mask.shape()).Run(mask);
    // At an end of 64 bits what one range said may take two nodes.
    return simple.node().nodes <= mask.node().nodes ? simple : mask;
  } catch (const simplify::GiveUp&) {
    return mask;
  }
}

MultiHeadMask Simplify(const MultiHeadMask& mask) {
  std::unordered_map<const MaskNode*, Mask> known;  // Heads mostly share a node.
  std::vector<Mask> heads;
  for (const Mask& head : mask.masks()) {
    const auto found = known.find(&head.node());
    heads.push_back(found != known.end()
                        ? found->second
                        : known.emplace(&head.node(), Simplify(head)).first->second);
  }
  return MultiHeadMask(std::move(heads));
}

}  // namespace splashmask
