// SPDX-License-Identifier: Apache-2.0
#pragma once
// Single values of a plan file's HDF5 content, checked as they are read. Private to io/.
//
// Whatever is not as docs/plan-format.md has it throws kDamaged and names the object.

#include <fmt/format.h>

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "splashmask/io/hdf5.h"
#include "splashmask/io/posix_file.h"
#include "splashmask/masks/error.h"
#include "splashmask/masks/mask.h"
#include "splashmask/planner/mask_info.h"
#include "splashmask/planner/progress.h"

namespace splashmask {

using Names = std::initializer_list<const char*>;

/// "(2, 3)".
std::string ShapeText(const std::vector<int64_t>& shape);
/// Text of a file that may be damaged, fit for a message.
std::string Printable(std::string text);

/// All of `required`, and nothing else but some of `optional`.
void ExpectMembers(const hdf5::Group& group, Names required, Names optional = {});
void ExpectAttributes(const hdf5::Object& object, Names names);
void ExpectDivides(const hdf5::Group& group, const char* name, int64_t part, int64_t whole);

/// An int64 of 1 at least.
int64_t PositiveAttribute(const hdf5::Group& group, const char* name);

/// The result of `parse`. The factories of masks/ say what is wrong with a stored expression; here
/// that means damage.
template <typename Parse>
auto ParseStored(const hdf5::Group& group, const char* name, Parse&& parse) {
  try {
    return parse();
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kTooLarge) throw;
    group.Fail(
        fmt::format("expected '{}' to be a mask's text, got: {}", name, Printable(error.what())));
  }
}

/// Reads datasets. `file` and `progress` must outlive it.
class ContentReader {
 public:
  ContentReader(const PosixFile& file, const Progress& progress)
      : file_(file), file_bytes_(file.Size()), progress_(progress) {}

  std::string ReadText(const hdf5::Group& group, const char* name) const;
  /// Integers, or packed bools, of rank 1 or 2.
  Array ReadArray(const hdf5::Group& group, const std::string& name) const;
  /// The field partial_mask_blocks; nullopt when absent.
  std::optional<PartialMaskBlocks> ReadPartialBlocks(const hdf5::Group& group, int64_t rows,
                                                     int64_t columns) const;
  /// The field q_sequence; nullopt when absent.
  std::optional<Array> ReadQSequence(const hdf5::Group& group, int64_t q_len) const;
  /// The field mask_function; nullopt when absent.
  std::optional<Mask> ReadMaskFunction(const hdf5::Group& group, Shape shape) const;

  /// Describes a dataset whose bytes all lie in this file, so that nothing bigger gets allocated.
  hdf5::DatasetInfo DescribeStored(const hdf5::Dataset& dataset) const;
  void ReadBytes(hdf5::Extent extent, std::byte* out) const;

 private:
  Array ReadBools(const hdf5::Dataset& dataset, const hdf5::DatasetInfo& info,
                  const std::vector<int64_t>& shape) const;

  const PosixFile& file_;
  const int64_t file_bytes_;
  const Progress& progress_;
};

}  // namespace splashmask
