// SPDX-License-Identifier: Apache-2.0
#pragma once
// The positions at which a mask is asked. Private to the project.

#include <algorithm>

#include "splashmask/masks/node.h"
#include "splashmask/masks/simplify/line_set.h"
#include "splashmask/masks/simplify/terms.h"

namespace splashmask::simplify {

/// A cell counts when q, kv and d = kv - q are all in here; not every such cell has to exist.
struct Domain {
  Interval q, kv, d;

  /// The cells of a shape.
  static Domain Of(Shape shape) {
    return Of({0, Wide{shape.q_len} - 1}, {0, Wide{shape.kv_len} - 1});
  }
  static Domain Of(Interval q, Interval kv) {
    return {q, kv, {kv.first - q.last, kv.last - q.first}};
  }
  /// What lies below a reordering that is asked in `outer`: the smallest to the largest position of
  /// an axis that it reorders.
  static Domain Of(const node::Reorder& reorder, const Domain& outer) {
    return Of(reorder.q ? Hull(reorder.q->positions) : outer.q,
              reorder.kv ? Hull(reorder.kv->positions) : outer.kv);
  }

  bool empty() const { return q.empty() || kv.empty() || d.empty(); }
  Domain operator&(const Domain& other) const { return {q & other.q, kv & other.kv, d & other.d}; }
  /// What each coordinate can be when the other two are what they can be.
  Interval DiagonalsSeen() const { return d & Interval{kv.first - q.last, kv.last - q.first}; }
  Interval RowsSeen() const { return q & Interval{kv.first - d.last, kv.last - d.first}; }
  Interval ColumnsSeen() const { return kv & Interval{q.first + d.first, q.last + d.last}; }
  Domain Tightened() const {
    if (empty()) return *this;
    return {RowsSeen(), ColumnsSeen(), DiagonalsSeen()};
  }

  /// The coordinate of a kind of set.
  const Interval& Line(Kind kind) const {
    return kind == Kind::kDiagonals ? d : kind == Kind::kRows ? q : kv;
  }
  friend bool operator==(const Domain&, const Domain&) = default;

 private:
  static Interval Hull(const Array& positions) {
    Interval hull{positions.At(0), positions.At(0)};
    positions.ForEach([&](int64_t, int64_t position) {
      hull.first = std::min(hull.first, Wide{position});
      hull.last = std::max(hull.last, Wide{position});
    });
    return hull;
  }
};

}  // namespace splashmask::simplify
