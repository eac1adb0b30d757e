// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/hdf5.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <mutex>

#include "splashmask/io/hdf5_internal.h"

namespace splashmask::hdf5 {

namespace {

// Recursive: a handle may go out of scope while its function holds the lock.
struct Gate {
  std::recursive_mutex mutex;
  int depth = 0;
};
Gate& TheGate() {
  static Gate gate;
  return gate;
}

// What the innermost HDF5 function said, "" when none did.
std::string InnermostError() {
  std::string text;
  const H5E_walk2_t keep_first = [](unsigned n, const H5E_error2_t* error, void* out) -> herr_t {
    if (n == 0 && error->desc != nullptr) *static_cast<std::string*>(out) = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first, &text);
  return text;
}

Handle AccessList(DriverFile* driver) {
  Handle fapl(H5Pcreate(H5P_FILE_ACCESS));
  // The oldest format that has checksums, and one only: the same plan gives the same bytes.
  const bool good = fapl && H5Pset_libver_bounds(fapl.get(), H5F_LIBVER_V18, H5F_LIBVER_V18) >= 0 &&
                    H5Pset_fclose_degree(fapl.get(), H5F_CLOSE_SEMI) >= 0 &&
                    UseDriver(fapl.get(), driver);
  return good ? std::move(fapl) : Handle();
}

}  // namespace

Lock::Lock() {
  TheGate().mutex.lock();
  // Only the outermost lock: these calls clear HDF5's error stack, which Fail wants to read.
  if (TheGate().depth++ > 0) return;
  H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Lock::~Lock() {
  if (--TheGate().depth == 0) {
    H5Eset_auto2(H5E_DEFAULT, print_, print_data_);
  }
  TheGate().mutex.unlock();
}

Handle::~Handle() {
  if (id_ < 0) return;
  const Lock lock;
  H5Idec_ref(id_);
}

void Context::Fail(const std::string& what) const {
  const Lock lock;
  if (driver.failure) throw Error(*driver.failure);
  const std::string hdf5 = InnermostError();
  throw Error(code, prefix + (hdf5.empty() ? what : fmt::format("{} (HDF5: {})", what, hdf5)));
}

File::File(std::shared_ptr<Context> context, Handle id)
    : context_(std::move(context)), id_(std::move(id)) {}

File::File(const PosixFile& file, ErrorCode code)
    : context_(std::make_shared<Context>(Context{file.Message(""), code, {&file, {}}})) {
  const Lock lock;
  const Handle fapl = AccessList(&context_->driver);
  if (fapl) id_ = Handle(H5Fopen("plan", H5F_ACC_RDONLY, fapl.get()));
  if (!id_) context_->Fail("expected HDF5 content, got something that cannot be opened");
}

File File::Create(const PosixFile& file, int64_t user_block_bytes) {
  auto context = std::make_shared<Context>(Context{file.Message(""), ErrorCode::kIo, {&file, {}}});
  const Lock lock;
  const Handle fapl = AccessList(&context->driver);
  const Handle fcpl(H5Pcreate(H5P_FILE_CREATE));
  const bool good = fapl && fcpl && H5Pset_obj_track_times(fcpl.get(), false) >= 0 &&
                    H5Pset_userblock(fcpl.get(), static_cast<hsize_t>(user_block_bytes)) >= 0;
  Handle id;
  if (good) id = Handle(H5Fcreate("plan", H5F_ACC_TRUNC, fcpl.get(), fapl.get()));
  if (!id || context->driver.failure) context->Fail("cannot create HDF5 content");
  return File(std::move(context), std::move(id));
}

File File::OpenByName(const std::string& path, const std::string& op, ErrorCode code) {
  const PosixFile probe = PosixFile::OpenForReading(path, op);
  auto context = std::make_shared<Context>(Context{probe.Message(""), code, {}});
  const Lock lock;
  Handle id(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT));
  if (!id) context->Fail("expected an HDF5 file, got one that cannot be opened as such");
  return File(std::move(context), std::move(id));
}

Group File::root() const {
  const Lock lock;
  Handle id(H5Gopen2(id_.get(), "/", H5P_DEFAULT));
  if (!id) context_->Fail("expected a root group, got none that can be opened");
  return Group(context_, std::move(id), "");
}

Dataset File::OpenDataset(const std::string& path) const {
  const Lock lock;
  // H5Lexists wants every group on the way to exist.
  for (size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
    if (H5Lexists(id_.get(), path.substr(0, end).c_str(), H5P_DEFAULT) <= 0) {
      throw Error(ErrorCode::kNotFound,
                  fmt::format("{}expected a dataset '{}', got none; the root holds: {}",
                              context_->prefix, path, fmt::join(root().Names(), ", ")));
    }
    if (end == std::string::npos) break;
  }
  Handle id(H5Oopen(id_.get(), path.c_str(), H5P_DEFAULT));
  if (!id)
    context_->Fail(fmt::format("expected a dataset '{}', got a link that leads nowhere", path));
  if (H5Iget_type(id.get()) != H5I_DATASET) {
    throw Error(context_->code, fmt::format("{}expected a dataset '{}', got a group or a type",
                                            context_->prefix, path));
  }
  return Dataset(context_, std::move(id), path);
}

void File::Close() {
  const Lock lock;
  if (H5Fclose(id_.release()) < 0 || context_->driver.failure) {
    context_->Fail("cannot finish the HDF5 content");
  }
}

}  // namespace splashmask::hdf5
