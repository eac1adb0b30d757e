// SPDX-License-Identifier: Apache-2.0
// Files that are sealed, and wrong all the same: made by another program, or on purpose.
#include <gtest/gtest.h>
#include <hdf5.h>

#include <random>

#include "splashmask/io/plan_file.h"
#include "tests/io/damage_test.h"

namespace splashmask {
namespace {

class PlanDamageTest : public DamageTest {
 protected:
  PlanDamageTest() : DamageTest("tables") {}
};

TEST_F(PlanDamageTest, DigestsCatchChangedContent) {
  Expect("expected content_digest ", [](hid_t f) { ChangeByte(f, "/fwd/data_next", 3, 1); });
  Expect("expected content_digest ", [](hid_t f) { ChangeByte(f, "/dkv/mask_next", 1, 1); });
  Expect("expected content_digest ",
         [](hid_t f) { ChangeByte(f, "/dq/partial_mask_blocks", 0, 1); });
  Expect("expected content_digest ", [](hid_t f) { ChangeByte(f, "/fwd/q_sequence", 0, 1); });
  Expect("expected content_digest ", [](hid_t f) { DropObject(f, "/fwd/mask_function"); });
  Expect("expected content_digest ",
         [](hid_t f) { PutTextDataset(f, "/fwd/mask_function", "causal(4)"); });
  Expect("expected content_digest ", [](hid_t f) {
    PutZeros(f, "/dq/block_mask", H5T_STD_I16LE, {4, 3, 1});  // The same values in another dtype.
  });
  Expect("expected content_digest ",
         [](hid_t f) { PutText(f, "/", "content_digest", std::string(64, '0')); });
  Expect("/: expected plan_digest to be 64 hex digits, got 'so??n'",
         [](hid_t f) { PutText(f, "/", "plan_digest", "so\xff\nn"); });
  Expect("expected plan_digest ", [](hid_t f) { PutBool(f, "/options", "shrink_grid", true); });
  Expect("expected plan_digest ",
         [](hid_t f) { PutBool(f, "/options", "downcast_smem_data", true); });
  Expect("expected plan_digest ", [](hid_t f) { DropObject(f, "/dkv"); });
  Expect("expected mask_digest ",
         [](hid_t f) { PutTextDataset(f, "/mask/expression", "[causal(1) * 4]"); });
}

TEST_F(PlanDamageTest, DigestErrorCanBeReportedInstead) {
  WritePlan(SamplePlanNamed("tables"), path_);
  EditPlan(path_, true, [](hid_t f) { ChangeByte(f, "/fwd/data_next", 3, 1); });
  ReadOptions options;
  options.seal = ReadOptions::Seal::kReport;
  const LoadedPlan loaded = ReadPlan(path_, options);
  EXPECT_EQ(loaded.seal, SealState::kValid);
  EXPECT_TRUE(loaded.digest_error.starts_with("expected content_digest ")) << loaded.digest_error;
}

TEST_F(PlanDamageTest, ArraysAreHashedAgainstTheirNames) {
  WritePlan(SamplePlanNamed("nodes"), path_);
  const auto first_array = [](hid_t f) {
    char name[80];
    H5Lget_name_by_idx(f, "/mask/data", H5_INDEX_NAME, H5_ITER_INC, 0, name, sizeof(name),
                       H5P_DEFAULT);
    return "/mask/data/" + std::string(name);
  };
  Expect(
      "expected array sha256:", [&](hid_t f) { ChangeByte(f, first_array(f).c_str(), 0, 1); },
      "nodes");
  Expect(
      "/mask: expected 'expression' to be a mask's text, got: ",
      [&](hid_t f) { DropObject(f, first_array(f).c_str()); }, "nodes");
  Expect(
      "/mask/data: expected no array 'sha256:more' beside the mask's",
      [&](hid_t f) { PutZeros(f, "/mask/data/more", H5T_STD_I8LE, {3}); }, "nodes");
}

TEST_F(PlanDamageTest, PackedArraysMustFitTheirShape) {
  const std::string sample = "many_arrays";
  const auto edit = [](auto&& change) {
    return [change](hid_t f) {
      char name[80];
      H5Lget_name_by_idx(f, "/mask/data", H5_INDEX_NAME, H5_ITER_INC, 0, name, sizeof(name),
                         H5P_DEFAULT);
      change(f, ("/mask/data/" + std::string(name)).c_str());
    };
  };
  const auto expect = [&](const std::string& text, auto&& change) {
    WritePlan(SamplePlanNamed(sample), path_);
    EditPlan(path_, true, edit(change));
    ExpectError(ErrorCode::kDamaged, text, [&] { ReadPlan(path_); });
  };
  expect("expected packed bools of shape (9, 17), got uint8(9, 2)", [](hid_t f, const char* path) {
    PutInts(f, path, "shape", {9, 17});
  });
  expect("expected packed bools of shape (-9, 11), got uint8(9, 2)", [](hid_t f, const char* path) {
    PutInts(f, path, "shape", {-9, 11});
  });
  expect("expected packed bools of shape (9, 9223372036854775807), got uint8(9, 2)",
         [](hid_t f, const char* path) {
           PutInts(f, path, "shape", {9, std::numeric_limits<int64_t>::max()});
         });
  expect("expected the attribute 'shape' to be an int64 vector, got something else",
         [](hid_t f, const char* path) { PutInts(f, path, "shape", {}); });
  expect("expected packed bools of shape (9, 11), got uint8(9, 2)",
         [](hid_t f, const char* path) { PutText(f, path, "dtype", "int4"); });
  expect("expected the attribute 'shape', got none",
         [](hid_t f, const char* path) { DropAttribute(f, path, "shape"); });
  expect("expected the attribute 'shape' to be an int64 vector, got something else",
         [](hid_t f, const char* path) { PutInts(f, path, "shape", std::vector<int64_t>(33)); });
  expect("expected pad bits of 0 after column 11, got a 1 in row 4",
         [](hid_t f, const char* path) { ChangeByte(f, path, 9, 8); });
  // Without its attributes it is an array of bytes, which dense() does not take.
  expect("expected 'expression' to be a mask's text, got: ", [](hid_t f, const char* path) {
    DropAttribute(f, path, "shape");
    DropAttribute(f, path, "dtype");
  });
}

TEST_F(PlanDamageTest, PadBitsMustBeZero) {
  Expect("/fwd/partial_mask_blocks: expected pad bits of 0 after column 12, got a 1 in row 8",
         [](hid_t f) { ChangeByte(f, "/fwd/partial_mask_blocks", 17, 0x10); });
}

TEST_F(PlanDamageTest, AttributesAreStrict) {
  Expect("/: expected the format 'splashmask', got 'other'",
         [](hid_t f) { PutText(f, "/", "format", "other"); });
  Expect("/: expected format_version of 1 at least, got 0",
         [](hid_t f) { PutInt(f, "/", "format_version", 0); });
  Expect("/: expected an attribute 'format', got none",
         [](hid_t f) { DropAttribute(f, "/", "format"); });
  Expect("/: expected the attribute 'created_with', got none",
         [](hid_t f) { DropAttribute(f, "/", "created_with"); });
  Expect("/: expected no attribute 'note', which format version 1 does not have",
         [](hid_t f) { PutText(f, "/", "note", "hello"); });
  Expect("/: expected the attribute 'plan_digest' to be a UTF-8 string",
         [](hid_t f) { PutInt(f, "/", "plan_digest", 3); });
  Expect("/mask: expected q_len of 1 at least, got 0",
         [](hid_t f) { PutInt(f, "/mask", "q_len", 0); });
  Expect("/mask: expected the attribute 'kv_len' to be an int64 scalar",
         [](hid_t f) { PutFloat(f, "/mask", "kv_len", 24); });
  Expect("/mask: expected the attribute 'kv_len' to be an int64 scalar",
         [](hid_t f) { PutInts(f, "/mask", "kv_len", {24}); });
  Expect("/options: expected the attribute 'shrink_grid' to be a bool",
         [](hid_t f) { PutInt(f, "/options", "shrink_grid", 1); });
  Expect("/options: expected the dialect 'jax', got 'tokamax'",
         [](hid_t f) { PutText(f, "/options", "dialect", "tokamax"); });
  Expect("/fwd: expected the attribute 'block_q', got none",
         [](hid_t f) { DropAttribute(f, "/fwd", "block_q"); });
}

TEST_F(PlanDamageTest, NumbersMustFitEachOther) {
  Expect("/options: expected head_shards (3) to divide 4",
         [](hid_t f) { PutInt(f, "/options", "head_shards", 3); });
  Expect("/options: expected head_shards of 1 at least, got -1",
         [](hid_t f) { PutInt(f, "/options", "head_shards", -1); });
  Expect("/options: expected q_seq_shards (5) to divide 24",
         [](hid_t f) { PutInt(f, "/options", "q_seq_shards", 5); });
  Expect("/fwd: expected block_q (8) to divide 12",
         [](hid_t f) { PutInt(f, "/options", "q_seq_shards", 2); });
  Expect("/dq: expected block_kv (7) to divide 24",
         [](hid_t f) { PutInt(f, "/dq", "block_kv", 7); });
  Expect("/dq: expected block_kv of 1 at least, got 0",
         [](hid_t f) { PutInt(f, "/dq", "block_kv", 0); });
  Expect("/mask: expected 'expression' to be a mask's text, got: ",
         [](hid_t f) { PutInt(f, "/mask", "num_heads", 5); });
  Expect("/mask: expected 'expression' to be a mask's text, got: ",
         [](hid_t f) { PutInt(f, "/mask", "num_heads", std::numeric_limits<int64_t>::max()); });
  Expect("/fwd/data_next: expected a table of 2 or 4 planes for a grid of 3 x 1 blocks",
         [](hid_t f) { PutInt(f, "/fwd", "block_kv", 24); });
}

TEST_F(PlanDamageTest, TablesMustHaveTheirDTypeAndShape) {
  const auto table = [](const char* path, hid_t type, std::vector<hsize_t> shape) {
    return [=](hid_t f) { PutZeros(f, path, type, shape); };
  };
  Expect("/fwd/data_next: expected int8, int16 or int32, got int64",
         table("/fwd/data_next", H5T_STD_I64LE, {2, 3, 2}));
  Expect("/fwd/data_next: expected int8, int16 or int32, got uint8",
         table("/fwd/data_next", H5T_STD_U8LE, {2, 3, 2}));
  Expect("/fwd/data_next: expected int8, int16 or int32, got float32",
         table("/fwd/data_next", H5T_IEEE_F32LE, {2, 3, 2}));
  Expect("/fwd/data_next: expected contiguous little-endian data inside the file, got int16",
         table("/fwd/data_next", H5T_STD_I16BE, {2, 3, 2}));
  for (const std::vector<hsize_t>& shape : std::vector<std::vector<hsize_t>>{{2, 3},
                                                                             {2, 3, 2, 1},
                                                                             {1, 3, 2},
                                                                             {3, 3, 2},
                                                                             {2, 2, 2},
                                                                             {2, 4, 2},
                                                                             {2, 3, 3},
                                                                             {2, 3, 0}}) {
    Expect(
        "/fwd/data_next: expected a table of 2 or 4 planes for a grid of 3 x 2 blocks, got shape",
        table("/fwd/data_next", H5T_STD_I8LE, shape));
  }
  for (const std::vector<hsize_t>& shape :
       std::vector<std::vector<hsize_t>>{{2, 7, 2}, {2, 0, 2}, {2, 5, 1}, {2, 5, 3}}) {
    Expect(
        "/dkv/data_next: expected a table of 2 or 4 planes for a grid of 6 x 2 blocks, got shape",
        table("/dkv/data_next", H5T_STD_I8LE, shape));
  }
  Expect("/dkv: expected data_next, mask_next and block_mask to have one shape, got several",
         table("/dkv/data_next", H5T_STD_I8LE, {2, 4, 2}));
  for (const std::vector<hsize_t>& shape :
       std::vector<std::vector<hsize_t>>{{5, 8}, {5, 7, 2}, {5, 8, 1}, {5, 8, 3}}) {
    Expect("/fwd/partial_mask_blocks: expected uint8(P, 8, 2), got uint8",
           table("/fwd/partial_mask_blocks", H5T_STD_U8LE, shape));
  }
  Expect("/dkv/partial_mask_blocks: expected uint8(P, 12, 1), got int8(3, 12, 1)",
         table("/dkv/partial_mask_blocks", H5T_STD_I8LE, {3, 12, 1}));
  Expect("/fwd: expected q_sequence to be 24 integers, got int64(23)",
         table("/fwd/q_sequence", H5T_STD_I64LE, {23}));
  Expect("/fwd/q_sequence: expected integers or packed bools of rank 1 or 2, got float64(24)",
         table("/fwd/q_sequence", H5T_IEEE_F64LE, {24}));
}

TEST_F(PlanDamageTest, TextsMustParse) {
  Expect("/mask: expected 'expression' to be a mask's text, got: ",
         [](hid_t f) { PutTextDataset(f, "/mask/expression", "causal(" + std::string(3, '\0')); });
  Expect("/mask: expected 'expression' to be a mask's text, got: ",
         [](hid_t f) { PutTextDataset(f, "/mask/expression", "[dense(\"../mask.npy\") * 4]"); });
  Expect("/fwd: expected 'mask_function' to be a mask's text, got: ",
         [](hid_t f) { PutTextDataset(f, "/fwd/mask_function", "dense(\"sha256:00\")"); });
  Expect("/mask/expression: expected a UTF-8 string of fixed length, got int8(3)",
         [](hid_t f) { PutZeros(f, "/mask/expression", H5T_STD_I8LE, {3}); });
}

TEST_F(PlanDamageTest, ObjectsMustBeWhatTheyAreCalled) {
  Expect("/: expected the member 'mask', got none", [](hid_t f) { DropObject(f, "/mask"); });
  Expect("/mask: expected the member 'data', got none",
         [](hid_t f) { DropObject(f, "/mask/data"); });
  Expect("/: expected no member 'notes', which format version 1 does not have",
         [](hid_t f) { PutZeros(f, "/notes", H5T_STD_I8LE, {1}); });
  Expect("/fwd: expected no member 'more'",
         [](hid_t f) { PutZeros(f, "/fwd/more", H5T_STD_I8LE, {1}); });
  Expect("/: expected a group 'dq', got something else",
         [](hid_t f) { PutZeros(f, "/dq", H5T_STD_I8LE, {1}); });
  Expect("/fwd: expected a dataset 'data_next', got something else", [](hid_t f) {
    DropObject(f, "/fwd/data_next");
    H5Gclose(H5Gcreate2(f, "/fwd/data_next", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  });
}

// What would make the reader look outside the sealed file.
TEST_F(PlanDamageTest, LinksAndOutsideDataAreRefused) {
  Expect("/fwd: expected a dataset 'data_next', got a link to elsewhere", [](hid_t f) {
    DropObject(f, "/fwd/data_next");
    H5Lcreate_soft("/dq/data_next", f, "/fwd/data_next", H5P_DEFAULT, H5P_DEFAULT);
  });
  Expect("/: expected a group 'dq', got a link to elsewhere", [](hid_t f) {
    DropObject(f, "/dq");
    H5Lcreate_external("/etc/passwd", "/", f, "/dq", H5P_DEFAULT, H5P_DEFAULT);
  });
  const auto put = [](hid_t f, hid_t list) {
    DropObject(f, "/fwd/data_next");
    const hsize_t shape[] = {2, 3, 2};
    const hid_t space = H5Screate_simple(3, shape, nullptr);
    H5Dclose(H5Dcreate2(f, "/fwd/data_next", H5T_STD_I8LE, space, H5P_DEFAULT, list, H5P_DEFAULT));
  };
  const std::string refused =
      "/fwd/data_next: expected contiguous little-endian data inside the file, got int8(2, 3, 2)";
  Expect(refused, [&](hid_t f) {
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_external(list, "/etc/passwd", 0, 12);
    put(f, list);
  });
  Expect(refused, [&](hid_t f) {  // Allocated late, and so never.
    put(f, H5P_DEFAULT);
  });
  Expect(refused, [&](hid_t f) {
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    const hsize_t chunk[] = {1, 3, 2};
    H5Pset_chunk(list, 3, chunk);
    put(f, list);
  });
  Expect(refused, [&](hid_t f) {
    const hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_layout(list, H5D_COMPACT);
    put(f, list);
  });
}

TEST_F(PlanDamageTest, ContentThatIsNotHdf5) {
  WritePlan(SamplePlanNamed("none"), path_);
  std::string bytes = ReadFile(path_);
  bytes.replace(512, 8, "whatever");
  WriteFile(path_, bytes);
  Reseal(path_);
  ExpectError(ErrorCode::kDamaged,
              "expected HDF5 content, got something that cannot be opened (HDF5: ", [&] {
                ReadPlan(path_);
              });
}

}  // namespace
}  // namespace splashmask
