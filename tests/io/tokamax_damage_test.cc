// SPDX-License-Identifier: Apache-2.0
// Damage to the group /tokamax of a file that is sealed all the same.
#include <gtest/gtest.h>
#include <hdf5.h>

#include "splashmask/io/plan_file.h"
#include "tests/io/damage_test.h"

namespace splashmask {
namespace {

class TokamaxDamageTest : public DamageTest {
 protected:
  TokamaxDamageTest() : DamageTest("tokamax") {}
};

TEST_F(TokamaxDamageTest, DigestsCatchChangedContent) {
  for (const char* list : {"/tokamax/fwd/mask_next", "/tokamax/fwd/active_rows",
                           "/tokamax/fwd/active_cols", "/tokamax/fwd/block_mask",
                           "/tokamax/fwd/num_active_blocks", "/tokamax/fwd/partial_mask_blocks"}) {
    Expect("expected content_digest ", [&](hid_t f) { ChangeByte(f, list, 0, 1); });
    Expect("expected content_digest ", [&](hid_t f) { DropObject(f, list); });
  }
  Expect(
      "expected content_digest ", [](hid_t f) { ChangeByte(f, "/tokamax/dkv/q_sequence", 0, 1); },
      "both_dialects");
  Expect(
      "expected content_digest ",
      [](hid_t f) { PutTextDataset(f, "/tokamax/dkv/mask_function", "causal(4)"); },
      "both_dialects");
  Expect("expected plan_digest ",
         [](hid_t f) { PutBool(f, "/tokamax/fwd", "downcast_smem_data", false); });
  Expect("expected plan_digest ", [](hid_t f) { DropObject(f, "/tokamax/fwd"); });
  Expect("expected plan_digest ", [](hid_t f) { DropObject(f, "/tokamax"); });
}

TEST_F(TokamaxDamageTest, AttributesAndMembersAreStrict) {
  Expect("/tokamax: expected no attribute 'note'",
         [](hid_t f) { PutText(f, "/tokamax", "note", "hello"); });
  Expect("/tokamax: expected no member 'dq'", [](hid_t f) {
    H5Gclose(H5Gcreate2(f, "/tokamax/dq", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
  });
  Expect("/tokamax: expected a pass fwd or dkv, got none", [](hid_t f) {
    DropObject(f, "/tokamax/fwd");
    DropObject(f, "/tokamax/dkv");
  });
  Expect(
      "/: expected a group 'tokamax', got something else",
      [](hid_t f) { PutZeros(f, "/tokamax", H5T_STD_I8LE, {1}); }, "none");
  for (const std::string name : {"block_q", "block_kv", "q_seq_shards", "kv_seq_shards",
                                 "downcast_smem_data", "return_dynamic_grid", "simplify"}) {
    Expect("/tokamax/fwd: expected the attribute '" + name + "', got none",
           [&](hid_t f) { DropAttribute(f, "/tokamax/fwd", name.c_str()); });
  }
  Expect("/tokamax/fwd: expected the attribute 'return_dynamic_grid' to be a bool",
         [](hid_t f) { PutInt(f, "/tokamax/fwd", "return_dynamic_grid", 1); });
  Expect("/tokamax/fwd: expected no member 'data_next'",
         [](hid_t f) { PutZeros(f, "/tokamax/fwd/data_next", H5T_STD_I8LE, {5}); });
}

TEST_F(TokamaxDamageTest, NumbersMustFitTheMask) {
  Expect("/tokamax/fwd: expected block_q of 1 at least, got 0",
         [](hid_t f) { PutInt(f, "/tokamax/fwd", "block_q", 0); });
  Expect("/tokamax/fwd: expected block_kv (3) to divide 8",
         [](hid_t f) { PutInt(f, "/tokamax/fwd", "block_kv", 3); });
  Expect("/tokamax/fwd: expected q_seq_shards (2) to divide 3",
         [](hid_t f) { PutInt(f, "/tokamax/fwd", "q_seq_shards", 2); });
  Expect("/tokamax/fwd: expected block_kv (2) to divide 1",
         [](hid_t f) { PutInt(f, "/tokamax/fwd", "kv_seq_shards", 8); });
  Expect(
      "/tokamax: expected one mask for all heads beside tokamax lists, got several",
      [](hid_t f) { PutTextDataset(f, "/mask/expression", "[causal() * 3, full()]"); },
      "both_dialects");
}

TEST_F(TokamaxDamageTest, ListsMustHaveTheirDTypeAndLength) {
  const auto list = [](const char* path, hid_t type, std::vector<hsize_t> shape) {
    return [=](hid_t f) { PutZeros(f, path, type, shape); };
  };
  Expect("/tokamax/fwd/block_mask: expected int8, int16 or int32, got int64",
         list("/tokamax/fwd/block_mask", H5T_STD_I64LE, {5}));
  Expect("/tokamax/fwd/block_mask: expected contiguous little-endian data inside the file",
         list("/tokamax/fwd/block_mask", H5T_STD_I16BE, {5}));
  Expect(
      "/tokamax/fwd/mask_next: expected a list of visible blocks in 1 x 1 shards, got shape (13)",
      list("/tokamax/fwd/mask_next", H5T_STD_I8LE, {13}));
  Expect(
      "/tokamax/fwd/mask_next: expected a list of visible blocks in 1 x 1 shards, got shape "
      "(5, 1)",
      list("/tokamax/fwd/mask_next", H5T_STD_I8LE, {5, 1}));
  Expect("/tokamax/fwd: expected lists of one length, got several",
         list("/tokamax/fwd/active_rows", H5T_STD_I8LE, {6}));
  Expect("/tokamax/dkv/mask_next: expected a list of all blocks in 1 x 1 shards, got shape (11)",
         list("/tokamax/dkv/mask_next", H5T_STD_I8LE, {11}));
  Expect("/tokamax/dkv/mask_next: expected a list of visible blocks in 3 x 2 shards, got shape (7)",
         list("/tokamax/dkv/mask_next", H5T_STD_I8LE, {7}), "both_dialects");
  Expect("/tokamax/fwd/num_active_blocks: expected int32 for 1 x 1 shards, got int32(2)",
         list("/tokamax/fwd/num_active_blocks", H5T_STD_I32LE, {2}));
  Expect("/tokamax/fwd/num_active_blocks: expected int32 for 1 x 1 shards, got int8(1)",
         list("/tokamax/fwd/num_active_blocks", H5T_STD_I8LE, {1}));
  for (const std::string name : {"active_rows", "active_cols", "num_active_blocks"}) {
    Expect("/tokamax/dkv: expected no " + name + " without return_dynamic_grid, got one",
           [&](hid_t f) { PutZeros(f, ("/tokamax/dkv/" + name).c_str(), H5T_STD_I8LE, {12}); });
  }
  Expect("/tokamax/fwd/partial_mask_blocks: expected uint8(P, 1, 1), got uint8(2, 2, 1)",
         list("/tokamax/fwd/partial_mask_blocks", H5T_STD_U8LE, {2, 2, 1}));
  Expect(
      "/tokamax/fwd/partial_mask_blocks: expected pad bits of 0 after column 2, got a 1 in row 1",
      [](hid_t f) { ChangeByte(f, "/tokamax/fwd/partial_mask_blocks", 1, 4); });
  Expect("/tokamax/dkv: expected q_sequence to be 24 integers, got int64(23)",
         list("/tokamax/dkv/q_sequence", H5T_STD_I64LE, {23}), "both_dialects");
  Expect(
      "/tokamax/dkv: expected 'mask_function' to be a mask's text, got: ",
      [](hid_t f) { PutTextDataset(f, "/tokamax/dkv/mask_function", "causal("); }, "both_dialects");
}

}  // namespace
}  // namespace splashmask
