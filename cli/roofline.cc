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
  return fmt::format("  {} {:<13}{:>7.0f} FLOP/byte {:>7.1f} TFLOP/s, {:>4.1f} % of the roof, {}\n",
                     point.letter, TpuKernelName(point.kernel->kernel), point.intensity,
                     point.attained / 1e12, point.attained / roof_at * 100,
                     BoundBy(point.kernel->time));
}

// What HBM and the matrix units let through.
struct Roof {
  double bandwidth, peak;

  double ridge() const { return peak / bandwidth; }
  double At(double intensity) const { return std::min(peak, intensity * bandwidth); }
};

std::vector<Point> PointsOf(const std::vector<SlowestShard>& kernels) {
  std::vector<Point> points;
  for (const SlowestShard& kernel : kernels) {
    const KernelTime& time = kernel.time;
    if (time.flops <= 0 || time.copied_bytes <= 0) continue;  // Nothing is visible.
    points.push_back({&kernel, LetterOf(kernel.kernel), time.flops / time.copied_bytes,
                      time.flops / time.kernel, time.flops / time.vector});
  }
  return points;
}

class Chart {
 public:
  Chart(const Roof& roof, const std::vector<Point>& points)
      : x_{roof.ridge() / 4, roof.ridge() * 4, kColumns}, y_{roof.peak / 8, roof.peak, kRows} {
    for (const Point& point : points) {
      x_.least = std::min(x_.least, point.intensity / 2);
      x_.most = std::max(x_.most, point.intensity * 2);
      y_.least = std::min(y_.least, point.attained / 2);
    }
    for (int column = 0; column < kColumns; ++column) {
      const double value = roof.At(x_.Value(column));
      if (value >= y_.least) canvas_.Put(column, y_.At(value), value < roof.peak ? "╱" : "─");
    }
    for (const Point& point : points) {
      if (point.vector < roof.peak) canvas_.Put(x_.At(point.intensity), y_.At(point.vector), "^");
    }
    for (const Point& point : points) {
      canvas_.Put(x_.At(point.intensity), y_.At(point.attained),
                  std::string_view(&point.letter, 1));
    }
  }

  std::string Text() const {
    std::string text, line;
    for (int row = kRows - 1; row >= 0; --row) {
      const bool is_labelled = row == kRows - 1 || row == 0 || row == kRows / 2;
      text +=
          fmt::format("{:>8} │{}\n", is_labelled ? fmt::format("{:.3g}", y_.Value(row) / 1e12) : "",
                      canvas_.Row(row));
    }
    for (int column = 0; column < kColumns; ++column) line += "─";
    text += fmt::format("{:>8} └{}\n", "", line);
    return text + fmt::format("{:>8}  {:<21}{:<21}{:>22}\n", "", fmt::format("{:.3g}", x_.least),
                              fmt::format("{:.3g}", x_.Value(kColumns / 3)),
                              fmt::format("{:.3g}", x_.most));
  }

 private:
  Axis x_, y_;
  Canvas canvas_;
};

}  // namespace

std::string DrawRoofline(const TpuSpec& spec, const std::vector<SlowestShard>& kernels,
                         bool is_float32) {
  const Roof roof{
      spec.hbm_bytes_per_second_of_device(),
      is_float32 ? spec.f32_flops_per_second_of_device() : spec.bf16_flops_per_second_of_device()};
  const std::vector<Point> points = PointsOf(kernels);
  std::string text = "roofline: useful TFLOP/s over FLOP for each byte of HBM\n";
  text += Chart(roof, points).Text();
  text += fmt::format("  roof: {:.0f} GB/s, then {:.0f} TFLOP/s; ^ what vector units let through\n",
                      roof.bandwidth / 1e9, roof.peak / 1e12);
  if (points.empty()) text += "  no kernel has anything to compute\n";
  for (const Point& point : points) text += Legend(point, roof.At(point.intensity));
  return text;
}

}  // namespace splashmask::cli
