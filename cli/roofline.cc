// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/roofline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string_view>

namespace splashmask::cli {

namespace {

constexpr int kColumns = 64, kRows = 15;

// Of a kernel: FLOP for each byte, and FLOP/s as it comes out and as vector units let it.
struct Point {
  const SlowestShard* kernel;
  char letter;
  double intensity, attained, vector;
};

char LetterOf(TpuKernel kernel) {
  switch (kernel) {
    case TpuKernel::kFwd:
      return 'f';
    case TpuKernel::kFwdResiduals:
      return 'r';
    case TpuKernel::kDq:
      return 'q';
    case TpuKernel::kDkv:
      return 'd';
    case TpuKernel::kFused:
      return 'u';
  }
  return '?';
}

// A logarithmic axis, cells from 0.
struct Axis {
  double least, most;
  int cells;

  int At(double value) const {
    const double share = std::log(value / least) / std::log(most / least);
    return std::clamp(static_cast<int>(std::lround(share * (cells - 1))), 0, cells - 1);
  }
  double Value(int cell) const {
    return least * std::pow(most / least, static_cast<double>(cell) / (cells - 1));
  }
};

class Canvas {
 public:
  Canvas() : rows_(kRows, std::vector<std::string>(kColumns, " ")) {}

  void Put(int column, int row, std::string_view character) {
    rows_[static_cast<size_t>(row)][static_cast<size_t>(column)] = character;
  }
  std::string Row(int row) const {
    std::string text;
    for (const std::string& character : rows_[static_cast<size_t>(row)]) text += character;
    return text.substr(0, text.find_last_not_of(' ') + 1);
  }

 private:
  std::vector<std::vector<std::string>> rows_;
};

std::string Legend(const Point& point, double roof_at) {
  const KernelTime& time = point.kernel->time;
  const double most = std::max({time.mxu, time.vector, time.hbm});
  const std::string_view bound = most == time.hbm   ? "HBM"
                                 : most == time.mxu ? "products"
                                                    : "vector";
  return fmt::format("  {} {:<13}{:>7.0f} FLOP/byte {:>7.1f} TFLOP/s, {:>4.1f} % of the roof, {}\n",
                     point.letter, TpuKernelName(point.kernel->kernel), point.intensity,
                     point.attained / 1e12, point.attained / roof_at * 100, bound);
}

}  // namespace

std::string DrawRoofline(const TpuSpec& spec, const std::vector<SlowestShard>& kernels,
                         bool is_float32) {
  const double peak =
      is_float32 ? spec.f32_flops_per_second_of_device() : spec.bf16_flops_per_second_of_device();
  const double bandwidth = spec.hbm_bytes_per_second_of_device(), ridge = peak / bandwidth;
  std::vector<Point> points;
  Axis x{ridge / 4, ridge * 4, kColumns}, y{peak / 8, peak, kRows};
  for (const SlowestShard& kernel : kernels) {
    const KernelTime& time = kernel.time;
    if (time.flops <= 0 || time.copied_bytes <= 0) continue;  // Nothing is visible.
    const Point point{&kernel, LetterOf(kernel.kernel), time.flops / time.copied_bytes,
                      time.flops / time.kernel, time.flops / time.vector};
    x.least = std::min(x.least, point.intensity / 2);
    x.most = std::max(x.most, point.intensity * 2);
    y.least = std::min(y.least, point.attained / 2);
    points.push_back(point);
  }
  const auto roof = [&](double intensity) { return std::min(peak, intensity * bandwidth); };

  Canvas canvas;
  for (int column = 0; column < kColumns; ++column) {
    const double intensity = x.Value(column), value = roof(intensity);
    if (value < y.least) continue;
    canvas.Put(column, y.At(value), value < peak ? "╱" : "─");
  }
  for (const Point& point : points) {
    if (point.vector < peak) canvas.Put(x.At(point.intensity), y.At(point.vector), "^");
  }
  for (const Point& point : points) {
    int column = x.At(point.intensity);
    const int row = y.At(point.attained);
    canvas.Put(column, row, std::string_view(&point.letter, 1));
  }

  std::string text = "roofline: useful TFLOP/s over FLOP for each byte of HBM\n";
  for (int row = kRows - 1; row >= 0; --row) {
    const bool is_labelled = row == kRows - 1 || row == 0 || row == kRows / 2;
    text +=
        fmt::format("{:>8} │{}\n", is_labelled ? fmt::format("{:.3g}", y.Value(row) / 1e12) : "",
                    canvas.Row(row));
  }
  std::string line;
  for (int column = 0; column < kColumns; ++column) line += "─";
  text += fmt::format("{:>8} └{}\n", "", line);
  text += fmt::format("{:>8}  {:<21}{:<21}{:>22}\n", "", fmt::format("{:.3g}", x.least),
                      fmt::format("{:.3g}", x.Value(kColumns / 3)), fmt::format("{:.3g}", x.most));
  text += fmt::format("  roof: {:.0f} GB/s, then {:.0f} TFLOP/s; ^ what vector units let through\n",
                      bandwidth / 1e9, peak / 1e12);
  for (const Point& point : points) text += Legend(point, roof(point.intensity));
  return text;
}

}  // namespace splashmask::cli
