// SPDX-License-Identifier: Apache-2.0
#include "splashmask/cli/peers.h"

#include <fmt/format.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "splashmask/cli/peers_script.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/mask_cells.h"
#include "splashmask/masks/print.h"
#include "splashmask/planner/memory.h"

namespace json = boost::json;

namespace splashmask::cli {

namespace {

[[noreturn]] void Fail(const std::string& message) {
  throw Error(ErrorCode::kIo, "[peers] " + message);
}

std::vector<float> Floats(const ConstTensor& tensor) {
  std::vector<float> numbers;
  numbers.reserve(static_cast<size_t>(tensor.batch * tensor.heads * tensor.length * tensor.dim));
  for (int64_t b = 0; b < tensor.batch; ++b) {
    for (int64_t h = 0; h < tensor.heads; ++h) {
      for (int64_t i = 0; i < tensor.length; ++i) {
        for (int64_t d = 0; d < tensor.dim; ++d) numbers.push_back(tensor.At(b, h, i, d));
      }
    }
  }
  return numbers;
}

json::array ShapeOf(const ConstTensor& tensor) {
  return {tensor.batch, tensor.heads, tensor.length, tensor.dim};
}

template <typename T>
T Answered(const json::object& answer, const char* name) {
  const json::value* field = answer.if_contains(name);
  const auto value =
      field == nullptr ? json::result<T>(json::error::not_found) : json::try_value_to<T>(*field);
  if (!value)
    Fail(fmt::format("expected '{}' in an answer, got {}", name, json::serialize(answer)));
  return *value;
}

// The peers have names for some masks.
const char* KindOf(const Mask& mask) {
  const bool is_square = mask.shape().q_len == mask.shape().kv_len;
  if (mask == Mask::Full(mask.shape())) return "full";
  return is_square && mask == Mask::Causal(mask.shape()) ? "causal" : "other";
}

}  // namespace

TemporaryFolder::TemporaryFolder() {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::temp_directory_path(error);
  if (error) Fail("cannot find a folder for temporary files: TMPDIR has to name one");
  std::string name = (parent / "splashmask-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) {
    Fail(fmt::format("cannot make the folder {}: {}", name, std::strerror(errno)));
  }
  path_ = name;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

Peers::Peers(const std::string& python, const std::vector<std::string>& names, int threads,
             const std::atomic<bool>& stop)
    : stop_(stop), python_({python, "-c", kPeersScript}) {
  const json::object answer =
      Ask({{"threads", threads}, {"peers", json::array(names.begin(), names.end())}});
  versions_ = Answered<std::map<std::string, std::string>>(answer, "versions");
  missing_ = Answered<std::map<std::string, std::string>>(answer, "missing");
}

void Peers::Load(const PeerCase& of) {
  const std::pair<const char*, const ConstTensor&> arrays[] = {
      {"q", of.inputs.q}, {"k", of.inputs.k}, {"v", of.inputs.v}, {"do", of.d_out}};
  json::array files;
  for (const auto& [name, tensor] : arrays) {
    files.push_back(json::array{WriteFile(name, Floats(tensor)), ShapeOf(tensor)});
  }
  const Shape shape = of.mask.shape();
  std::span<const Mask> masks = of.mask.masks();
  const bool is_one = std::ranges::all_of(masks, [&](const Mask& m) { return m == masks[0]; });
  if (is_one) masks = masks.first(1);
  // Peers make floats of the cells.
  const bool has_cells = FitsInMemory(static_cast<ByteCount>(shape.q_len) *
                                      static_cast<ByteCount>(shape.kv_len) * masks.size() * 16);
  Ask({{"do", "load"},
       {"folder", folder_.path().string()},
       {"dtype", of.inputs.q.type == FloatType::kBFloat16 ? "bfloat16" : "float32"},
       {"mask", is_one ? ToString(masks[0]) : ""},
       {"kind", is_one ? KindOf(masks[0]) : "other"},
       {"backward", of.backward},
       {"arrays", files},
       {"cells", has_cells ? json::value(WriteCells(masks)) : json::value(nullptr)}});
}

std::map<std::string, std::vector<float>> Peers::Compute(const std::string& peer) {
  const json::object answer = Ask({{"do", "write"}, {"peer", peer}});
  std::map<std::string, std::vector<float>> results;
  for (const auto& [name, path] : Answered<std::map<std::string, std::string>>(answer, "files")) {
    std::ifstream in(path, std::ios::binary | std::ios::ate);
    std::vector<float>& numbers = results[name];
    if (in) numbers.resize(static_cast<size_t>(in.tellg()) / sizeof(float));
    in.seekg(0);
    in.read(reinterpret_cast<char*>(numbers.data()),
            static_cast<std::streamsize>(numbers.size() * sizeof(float)));
    if (!in) Fail("cannot read " + path);
  }
  return results;
}

double Peers::SecondsOf(const std::string& peer) {
  return Answered<double>(Ask({{"do", "run"}, {"peer", peer}}), "seconds");
}

json::object Peers::Ask(const json::object& request) {
  python_.WriteLine(json::serialize(request));
  const std::optional<std::string> line = python_.ReadLine(stop_);
  if (!line) Fail("Python ended without an answer");
  boost::system::error_code error;
  const json::value answer = json::parse(*line, error);
  if (error || !answer.is_object()) Fail(fmt::format("expected an answer, got '{}'", *line));
  if (answer.as_object().contains("error"))
    Fail(Answered<std::string>(answer.as_object(), "error"));
  return answer.as_object();
}

std::string Peers::WriteFile(const std::string& name, const std::vector<float>& numbers) const {
  const std::string path = (folder_.path() / (name + ".bin")).string();
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(numbers.data()),
            static_cast<std::streamsize>(numbers.size() * sizeof(float)));
  if (!out.flush()) Fail("cannot write " + path);
  return path;
}

std::string Peers::WriteCells(std::span<const Mask> masks) const {
  const std::string path = (folder_.path() / "cells.bin").string();
  std::ofstream out(path, std::ios::binary);
  const auto [q_len, kv_len] = masks[0].shape();
  std::vector<std::byte> row(static_cast<size_t>(kv_len));
  for (const Mask& mask : masks) {
    const MaskCells cells(mask);
    for (int64_t q = 0; q < q_len; ++q) {
      if (stop_) throw Error(ErrorCode::kCancelled, "[peers] stopped");
      cells.Read(q, q + 1, 0, kv_len, row.data());
      out.write(reinterpret_cast<const char*>(row.data()),
                static_cast<std::streamsize>(row.size()));
    }
  }
  if (!out.flush()) Fail("cannot write " + path);
  return path;
}

}  // namespace splashmask::cli
