// SPDX-License-Identifier: Apache-2.0
#include "splashmask/planner/picture.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "splashmask/planner/grouped.h"

namespace splashmask {

namespace {

/// One axis of the picture, in cells: a cell shows `group` blocks, or a block takes `scale` cells.
struct Axis {
  int64_t blocks = 0;
  int64_t block_size = 0;
  int64_t group = 1;
  int64_t scale = 1;

  int64_t cells() const { return (blocks + group - 1) / group * scale; }
  int64_t length() const { return blocks * block_size; }
  double positions_per_cell() const {
    return static_cast<double>(block_size * group) / static_cast<double>(scale);
  }
  /// The blocks [first, last) that a cell shows.
  std::pair<int64_t, int64_t> Blocks(int64_t cell) const {
    const int64_t first = cell / scale * group;
    return {first, std::min(first + group, blocks)};
  }
};

/// The axis in at most `most` cells (or one a block, where blocks are few and `most` is less than
/// 1). Whole blocks a cell, or whole cells a block, keep every edge sharp.
Axis FitAxis(int64_t blocks, int64_t block_size, int64_t most, int64_t most_scale) {
  most = std::max<int64_t>(most, 1);
  Axis axis{blocks, block_size};
  if (blocks > most) {
    axis.group = (blocks + most - 1) / most;
  } else {
    axis.scale = std::min(most / blocks, most_scale);
  }
  return axis;
}

struct Axes {
  Axis q, kv;
};

Axes FitAxes(const BlockClassGrid& grid, BlockShape block, int64_t columns) {
  // A block never takes more than this many columns: a picture of four blocks is small.
  constexpr int64_t kMostScale = 8;
  const double ratio =
      static_cast<double>(grid.q_blocks * block.q) / static_cast<double>(grid.kv_blocks * block.kv);
  // Never more cell rows than `columns`, which is half as many lines: tall masks get narrower, but
  // no narrower than still shows something.
  int64_t most_columns = columns;
  if (ratio > 1) {
    const auto narrow = static_cast<int64_t>(static_cast<double>(columns) / ratio);
    most_columns = std::clamp(narrow, std::min<int64_t>({grid.kv_blocks, 16, columns}), columns);
  }
  Axes axes;
  axes.kv = FitAxis(grid.kv_blocks, block.kv, most_columns, kMostScale);
  const auto rows = static_cast<int64_t>(
      std::llround(static_cast<double>(axes.kv.cells()) * std::min(ratio, 1e6)));
  const int64_t fewest = std::min<int64_t>({std::max<int64_t>(grid.q_blocks, 2), 8, columns});
  axes.q = FitAxis(grid.q_blocks, block.q, std::clamp(rows, fewest, columns), columns);
  return axes;
}

/// What a cell shows: the shares of its blocks that are partial and full.
struct Cell {
  double partial = 0, full = 0;
  friend bool operator==(const Cell&, const Cell&) = default;
};

Cell Sample(const BlockClassGrid& grid, const Axes& axes, int64_t row, int64_t column) {
  const auto [q_begin, q_end] = axes.q.Blocks(row);
  const auto [kv_begin, kv_end] = axes.kv.Blocks(column);
  int64_t counts[3] = {};
  for (int64_t q = q_begin; q < q_end; ++q) {
    for (int64_t kv = kv_begin; kv < kv_end; ++kv) ++counts[static_cast<int>(grid.At(q, kv))];
  }
  const auto total = static_cast<double>((q_end - q_begin) * (kv_end - kv_begin));
  return {static_cast<double>(counts[1]) / total, static_cast<double>(counts[2]) / total};
}

constexpr const char* kEmptyShade = "·";
constexpr const char* kShades[] = {"░", "▒", "▓"};
constexpr const char* kFullShade = "█";

/// The shade for one or two cells. Only a character without any visited block is empty, and only
/// one without any other block is full.
const char* Shade(const Cell& cell) {
  if (cell.partial == 0 && cell.full == 0) return kEmptyShade;
  if (cell.full == 1) return kFullShade;
  const double density = cell.full + cell.partial / 2;
  return kShades[std::min(static_cast<int>(density * 3), 2)];
}

using Rgb = std::array<double, 3>;
constexpr Rgb kEmptyColour{38, 42, 51};
constexpr Rgb kPartialColour{255, 183, 77};
constexpr Rgb kFullColour{79, 134, 247};

Rgb Mix(const Rgb& a, const Rgb& b, double share_of_b) {
  Rgb mixed;
  for (size_t i = 0; i < 3; ++i) mixed[i] = a[i] + (b[i] - a[i]) * share_of_b;
  return mixed;
}

/// A cell with partial blocks keeps their hue however few they are: they draw the edges of a mask,
/// and blue and orange would mix to grey.
Rgb ColourOf(const Cell& cell) {
  if (cell.partial > 0) return Mix(kEmptyColour, kPartialColour, 0.6 + 0.4 * cell.partial);
  return Mix(kEmptyColour, kFullColour, cell.full);
}

/// The parameters of an SGR sequence that sets a colour; `layer` is 38 for the foreground and 48
/// for the background.
std::string ColourCode(const Cell& cell, int layer, Colours colours) {
  const Rgb rgb = ColourOf(cell);
  if (colours == Colours::kTrueColour) {
    return fmt::format("{};2;{:.0f};{:.0f};{:.0f}", layer, rgb[0], rgb[1], rgb[2]);
  }
  if (cell == Cell{}) return fmt::format("{};5;236", layer);  // A grey, which the cube lacks.
  // xterm's colour cube: 16 + 36 r + 6 g + b, of levels 0, 95, 135, 175, 215, 255.
  int index = 0;
  for (const double value : rgb) {
    index = 6 * index + (value < 47.5 ? 0 : value < 115 ? 1 : std::lround((value - 55) / 40));
  }
  return fmt::format("{};5;{}", layer, 16 + index);
}

/// One line of cells: `upper` and, where there is one, `lower` in each character.
std::string DrawShades(const std::vector<Cell>& upper, const std::vector<Cell>& lower) {
  std::string line;
  for (size_t i = 0; i < upper.size(); ++i) {
    Cell mean = upper[i];
    if (!lower.empty()) {
      mean = {(upper[i].partial + lower[i].partial) / 2, (upper[i].full + lower[i].full) / 2};
    }
    line += Shade(mean);
  }
  return line;
}

std::string DrawColours(const std::vector<Cell>& upper, const std::vector<Cell>& lower,
                        Colours colours) {
  std::string line, current;
  for (size_t i = 0; i < upper.size(); ++i) {
    const std::string code =
        ColourCode(upper[i], 38, colours) + ";" +
        (lower.empty() ? std::string("49") : ColourCode(lower[i], 48, colours));
    if (code != current) line += fmt::format("\x1b[{}m", code);
    current = code;
    line += "▀";
  }
  return line + "\x1b[0m";
}

/// Cells at which an axis has a tick: about four steps of whole cells, and the end is not one.
std::vector<int64_t> Ticks(const Axis& axis, int64_t fewest_cells) {
  const int64_t quarter = (axis.blocks + 3) / 4;
  int64_t step = (quarter + axis.group - 1) / axis.group * axis.scale;
  while (step < fewest_cells) step *= 2;
  std::vector<int64_t> ticks;
  for (int64_t cell = 0; cell < axis.cells(); cell += step) ticks.push_back(cell);
  return ticks;
}

std::string TickLabel(const Axis& axis, int64_t cell) {
  return Grouped(axis.Blocks(cell).first * axis.block_size);
}

/// The two lines above the picture: kv positions, and the frame with a tick under each.
std::string DrawTop(const Axis& kv, size_t margin) {
  const auto cells = static_cast<size_t>(kv.cells());
  const std::string end = Grouped(kv.length());
  // The frame's left corner is column 0, the cells follow, and the end's label ends at the right
  // corner.
  std::string labels(cells + 2, ' ');
  std::vector<const char*> edge(cells + 2, "─");
  edge.front() = "┌";
  edge.back() = "┐";
  const size_t end_at = labels.size() - std::min(labels.size(), end.size());
  size_t free_from = 0;
  for (const int64_t cell : Ticks(kv, static_cast<int64_t>(end.size()) + 2)) {
    const std::string label = TickLabel(kv, cell);
    const auto tick = static_cast<size_t>(cell) + 1;
    const size_t at = tick > label.size() / 2 ? tick - label.size() / 2 : 0;
    if (at < free_from || at + label.size() + 2 > end_at) continue;
    labels.replace(at, label.size(), label);
    edge[tick] = "┴";
    free_from = at + label.size() + 2;
  }
  labels.resize(end_at);
  std::string text = fmt::format("{:>{}} {}{}\n{:>{}} ", "kv", margin, labels, end, "q", margin);
  for (const char* piece : edge) text += piece;
  return text + "\n";
}

std::string Legend(const Axes& axes, const PictureOptions& options) {
  const auto swatch = [&](const Cell& cell) {
    if (options.colours == Colours::kNone) return std::string(Shade(cell));
    return fmt::format("\x1b[{}m██\x1b[0m", ColourCode(cell, 38, options.colours));
  };
  const std::string classes = options.colours == Colours::kNone
                                  ? fmt::format("{} empty  {}{}{} in part  {} full", kEmptyShade,
                                                kShades[0], kShades[1], kShades[2], kFullShade)
                                  : fmt::format("{} empty  {} partial  {} full", swatch({}),
                                                swatch({1, 0}), swatch({0, 1}));
  const auto positions = [](double count) { return Grouped(std::llround(count)); };
  constexpr int kFitsOneLine = 72;
  return fmt::format(
      "{}{}one character: {} q x {} kv\n", classes, options.width < kFitsOneLine ? "\n" : "   ",
      positions(2 * axes.q.positions_per_cell()), positions(axes.kv.positions_per_cell()));
}

}  // namespace

std::string DrawPicture(const BlockClassGrid& grid, BlockShape block,
                        const PictureOptions& options) {
  const size_t margin = std::max(Grouped(grid.q_blocks * block.q).size(), size_t{2}) + 1;
  const auto labels_and_frame = static_cast<int64_t>(margin) + 3;
  const Axes axes = FitAxes(grid, block, std::max<int64_t>(options.width - labels_and_frame, 4));

  std::string text = DrawTop(axes.kv, margin);
  const std::vector<int64_t> ticks = Ticks(axes.q, 4);
  for (int64_t row = 0; row < axes.q.cells(); row += 2) {
    std::vector<Cell> upper, lower;
    for (int64_t column = 0; column < axes.kv.cells(); ++column) {
      upper.push_back(Sample(grid, axes, row, column));
      if (row + 1 < axes.q.cells()) lower.push_back(Sample(grid, axes, row + 1, column));
    }
    const auto tick = std::find_if(ticks.begin(), ticks.end(),
                                   [&](int64_t cell) { return cell == row || cell == row + 1; });
    const bool has_tick = tick != ticks.end();
    text += fmt::format("{:>{}} {}", has_tick ? TickLabel(axes.q, *tick) : "", margin,
                        has_tick ? "┤" : "│");
    text += options.colours == Colours::kNone ? DrawShades(upper, lower)
                                              : DrawColours(upper, lower, options.colours);
    text += "│\n";
  }
  text += fmt::format("{:>{}} └", Grouped(axes.q.length()), margin);
  for (int64_t column = 0; column < axes.kv.cells(); ++column) text += "─";
  return text + "┘\n" + Legend(axes, options);
}

}  // namespace splashmask
