// SPDX-License-Identifier: Apache-2.0
#include "splashmask/io/hdf5_driver.h"

#include <hdf5.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <new>
#include <span>

namespace splashmask::hdf5 {

namespace {

constexpr haddr_t kMaxAddress = std::numeric_limits<int64_t>::max();

// What a file access list carries: HDF5 copies it byte by byte.
struct DriverInfo {
  DriverFile* target;
};

// HDF5 fills the base when it has opened the file.
struct OpenFile : H5FD_t {
  DriverFile* target;
  bool writable;
  haddr_t eoa;  // end of the allocated addresses
  haddr_t eof;  // end of the file
};

OpenFile& Get(H5FD_t* file) { return *static_cast<OpenFile*>(file); }
const OpenFile& Get(const H5FD_t* file) { return *static_cast<const OpenFile*>(file); }

int64_t LoadInt(std::span<const std::byte> bytes, size_t at, size_t size) {
  uint64_t value = 0;
  while (size-- > 0) value = value << 8 | std::to_integer<uint64_t>(bytes[at + size]);
  return static_cast<int64_t>(value);
}

// A global heap holds variable-length strings. It is the one structure of a plan file for which
// HDF5 has no checksum, and HDF5 1.10 loops forever or reads beyond it when it is damaged. So this
// asks that its objects fill the block exactly: a number (0 for the free rest), a count, 4 reserved
// bytes and a size each, then the padded bytes.
bool IsSoundGlobalHeap(std::span<const std::byte> block) {
  constexpr size_t kHeader = 16;
  constexpr int64_t kBlock = 4096;  // HDF5's smallest, and more than the strings of a plan need.
  if (block.size() != kBlock || std::memcmp(block.data(), "GCOL\1\0\0\0", 8) != 0 ||
      LoadInt(block, 8, 8) != kBlock) {
    return false;
  }
  for (size_t at = kHeader; at + kHeader <= block.size();) {
    const int64_t number = LoadInt(block, at, 2), size = LoadInt(block, at + 8, 8);
    const auto room = static_cast<int64_t>(block.size() - at);
    if (number == 0) return size == room;
    if (size < 0 || size > room - static_cast<int64_t>(kHeader)) return false;
    at += kHeader + static_cast<size_t>(size + 7) / 8 * 8;
  }
  return true;
}

// Runs `action`, keeping the first Error for whoever called HDF5.
template <typename Action>
bool Keep(DriverFile& target, Action&& action) {
  try {
    action();
    return true;
  } catch (const Error& error) {
    if (!target.failure) target.failure = error;
    return false;
  }
}

H5FD_t* Open(const char*, unsigned flags, hid_t fapl, haddr_t) {
  const auto* info = static_cast<const DriverInfo*>(H5Pget_driver_info(fapl));
  if (info == nullptr) return nullptr;
  auto* file = new (std::nothrow) OpenFile{};
  if (file == nullptr) return nullptr;
  file->target = info->target;
  file->writable = (flags & H5F_ACC_RDWR) != 0;
  const bool known = Keep(*file->target, [&] {
    if ((flags & H5F_ACC_TRUNC) != 0) file->target->file->Resize(0);
    file->eof = static_cast<haddr_t>(file->target->file->Size());
  });
  if (known) return file;
  delete file;
  return nullptr;
}

herr_t Close(H5FD_t* file) {
  delete &Get(file);
  return 0;
}

herr_t Query(const H5FD_t*, unsigned long* flags) {
  *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_DATA_SIEVE |
           H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  return 0;
}

haddr_t GetEoa(const H5FD_t* file, H5FD_mem_t) { return Get(file).eoa; }
herr_t SetEoa(H5FD_t* file, H5FD_mem_t, haddr_t address) {
  Get(file).eoa = address;
  return 0;
}
haddr_t GetEof(const H5FD_t* file, H5FD_mem_t) { return Get(file).eof; }

herr_t Read(H5FD_t* file, H5FD_mem_t type, hid_t, haddr_t address, size_t size, void* buffer) {
  OpenFile& open = Get(file);
  if (address > kMaxAddress || size > kMaxAddress - address) return -1;
  // Addresses that were allocated and never written read as zeros.
  const haddr_t in_file = std::min<haddr_t>(size, open.eof > address ? open.eof - address : 0);
  auto* out = static_cast<std::byte*>(buffer);
  std::memset(out + in_file, 0, size - in_file);
  const bool good = Keep(*open.target, [&] {
    open.target->file->ReadAt(static_cast<int64_t>(address), {out, static_cast<size_t>(in_file)});
  });
  if (!good) return -1;
  // HDF5 reads global heaps as raw data; tables, which are the other raw data, we read ourselves.
  return type != H5FD_MEM_DRAW || IsSoundGlobalHeap({out, size}) ? 0 : -1;
}

herr_t Write(H5FD_t* file, H5FD_mem_t, hid_t, haddr_t address, size_t size, const void* buffer) {
  OpenFile& open = Get(file);
  open.eof = std::max<haddr_t>(open.eof, address + size);
  if (open.target->failure) return 0;
  Keep(*open.target, [&] {
    open.target->file->WriteAt(static_cast<int64_t>(address),
                               {static_cast<const std::byte*>(buffer), size});
  });
  return 0;
}

// HDF5 calls this before it closes a file: what was allocated last may never have been written.
herr_t Truncate(H5FD_t* file, hid_t, hbool_t) {
  OpenFile& open = Get(file);
  if (!open.writable || open.target->failure) return 0;
  Keep(*open.target, [&] { open.target->file->Resize(static_cast<int64_t>(open.eoa)); });
  open.eof = open.eoa;
  return 0;
}

H5FD_class_t MakeClass() {
  H5FD_class_t driver{};
  driver.name = "splashmask";
  driver.maxaddr = kMaxAddress;
  driver.fc_degree = H5F_CLOSE_WEAK;
  driver.fapl_size = sizeof(DriverInfo);
  driver.open = Open;
  driver.close = Close;
  driver.query = Query;
  driver.get_eoa = GetEoa;
  driver.set_eoa = SetEoa;
  driver.get_eof = GetEof;
  driver.read = Read;
  driver.write = Write;
  driver.truncate = Truncate;
  constexpr H5FD_mem_t kMap[] = H5FD_FLMAP_DICHOTOMY;
  std::copy(std::begin(kMap), std::end(kMap), driver.fl_map);
  return driver;
}

}  // namespace

bool UseDriver(int64_t fapl, DriverFile* file) {
  static const H5FD_class_t driver = MakeClass();
  static hid_t id = H5I_INVALID_HID;
  if (H5Iget_type(id) != H5I_VFL) id = H5FDregister(&driver);  // once, or again after H5close()
  const DriverInfo info{file};
  return H5Pset_driver(fapl, id, &info) >= 0;
}

}  // namespace splashmask::hdf5
