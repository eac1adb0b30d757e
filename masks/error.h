// SPDX-License-Identifier: Apache-2.0
#pragma once
// The one exception type of the library.

#include <stdexcept>
#include <string>
#include <string_view>

namespace splashmask {

/// What kind of thing went wrong. The library never prints and never aborts: it throws `Error`.
enum class ErrorCode {
  kInvalidArgument,  ///< A value is outside what the operation accepts.
  kSyntax,           ///< A mask's text form, or a compiler's dump, cannot be parsed.
  kInvalidArray,     ///< An array has the wrong dtype, rank, shape, byte order, or is cut short.
  kNotFound,         ///< A file, or a dataset inside one, does not exist.
  kTooLarge,         ///< The result would not fit in memory.
  kNewerFormat,      ///< A plan file was written by a newer version of the format.
  kNotAPlan,         ///< A file is not a plan file at all.
  kDamaged,          ///< A plan file's seal, a digest or its structure is broken.
  kIo,               ///< The operating system refused to read or write.
  kCancelled,        ///< The caller asked to stop.
};

/// The code's name without its `k`, for example "InvalidArgument".
std::string_view ErrorCodeName(ErrorCode code);

/// Thrown for every failure a caller can cause or meet. The message reads
/// `[op] expected ... got ...`, with the fragment that offends and a way out where there is one.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

  ErrorCode code() const { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace splashmask
