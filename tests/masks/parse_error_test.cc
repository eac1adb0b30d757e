// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "splashmask/masks/parse.h"
#include "tests/support/expect_error.h"

namespace splashmask {
namespace {

constexpr Shape kOfText{12, 12};

void ExpectSyntax(const std::string& text, const std::string& message) {
  SCOPED_TRACE(text);
  ExpectError(ErrorCode::kSyntax, "[parse] " + message, [&] { ParseMultiHeadMask(text, kOfText); });
}

TEST(ParseErrorTest, PointsAtTheColumn) {
  ExpectSyntax("causal() & local(1, 0",
               "expected ',' or ')' between arguments, got the end of the text at column 22\n"
               "  causal() & local(1, 0\n"
               "                       ^");
  ExpectSyntax("causal() & ",
               "expected a mask, got the end of the text at column 12\n"
               "  causal() & \n"
               "             ^");
  ExpectSyntax("", "expected a mask, got the end of the text at column 1\n  \n  ^");
  ExpectSyntax("(causal()", "this parenthesis is not closed at column 1\n  (causal()\n  ^");
  ExpectSyntax("causal())", "this ')' closes nothing at column 9\n  causal())\n          ^");
  ExpectSyntax("causal() causal()",
               "expected an operator or the end of the text, got 'causal' at column 10\n"
               "  causal() causal()\n"
               "           ^");
  ExpectSyntax("causal() @", "unexpected character '@' at column 10\n  causal() @\n           ^");
  ExpectSyntax("causal() & \xC3\xA9",
               "unexpected character '\xC3\xA9' at column 12\n  causal() & \xC3\xA9\n"
               "             ^");
  ExpectSyntax("dense(\"x", "this string is not closed at column 7\n  dense(\"x\n        ^");
}

TEST(ParseErrorTest, ShowsAWindowOfALongText) {
  std::string text;
  for (int i = 0; i < 30; ++i) text += "causal() | ";
  ExpectSyntax(text + "casual()" + " | full()",
               "unknown mask 'casual': did you mean 'causal'? at column 331\n"
               "  ...al() | causal() | causal() | causal() | casual() | full()\n"
               "                                             ^");
}

TEST(ParseErrorTest, NamesTheNearestMaskAndArgument) {
  ExpectSyntax("Causal()",
               "unknown mask 'Causal': did you mean 'causal'? at column 1\n"
               "  Causal()\n  ^");
  ExpectSyntax("loca(1, 2)",
               "unknown mask 'loca': did you mean 'local'? at column 1\n"
               "  loca(1, 2)\n  ^");
  ExpectSyntax("xyzzyplugh(1)",
               "unknown mask 'xyzzyplugh': known are reorder, full, empty, causal, local, "
               "chunked_causal, prefix, q_range, kv_range, stride, documents, segments, blocks, "
               "dense, where at column 1\n  xyzzyplugh(1)\n  ^");
  ExpectSyntax("causal(ofset=1)",
               "unknown argument 'ofset' of causal(): did you mean 'offset'? at column 8\n"
               "  causal(ofset=1)\n         ^");
  ExpectSyntax("full(x=1)",
               "unknown argument 'x' of full(): it takes none at column 6\n"
               "  full(x=1)\n       ^");
}

TEST(ParseErrorTest, ChecksArguments) {
  ExpectSyntax("local(1)",
               "expected argument 'right' of local(): an integer or none at column 1\n"
               "  local(1)\n  ^");
  ExpectSyntax("causal(1, 2)",
               "expected at most 1 arguments of causal(), got another at column "
               "11\n  causal(1, 2)\n            ^");
  ExpectSyntax("local(1, left=2)",
               "argument 'left' is given twice at column 10\n"
               "  local(1, left=2)\n           ^");
  ExpectSyntax("local(left=1, 2)",
               "expected no positional argument after a named one at column "
               "15\n  local(left=1, 2)\n                ^");
  ExpectSyntax("causal(none)",
               "expected an integer for 'offset', got 'none' at column 8\n"
               "  causal(none)\n         ^");
  ExpectSyntax("causal(1.5)", "expected an integer at column 8\n  causal(1.5)\n         ^");
  ExpectSyntax("causal(99999999999999999999)",
               "expected an integer that fits in 64 bits, got 99999999999999999999 at column 8\n"
               "  causal(99999999999999999999)\n         ^");
  ExpectSyntax("causal(- x)",
               "expected an integer, got 'x' at column 10\n"
               "  causal(- x)\n           ^");
  ExpectSyntax("dense(3)",
               "expected a file name in quotes for 'array', got '3' at column 7\n"
               "  dense(3)\n        ^");
  ExpectSyntax("documents(3)",
               "expected a list of integers or a file name in quotes for 'lengths', got '3' at "
               "column 11\n  documents(3)\n            ^");
  ExpectSyntax("documents([1 2])",
               "expected ',' or ']' in a list, got '2' at column 14\n"
               "  documents([1 2])\n               ^");
  ExpectSyntax("causal",
               "expected '(' after 'causal', got the end of the text at column 7\n"
               "  causal\n        ^");
}

TEST(ParseErrorTest, ChecksReorder) {
  ExpectSyntax("reorder(causal())",
               "expected ', q=...' or ', kv=...' in reorder(), got ')' at column 17\n"
               "  reorder(causal())\n                  ^");
  ExpectSyntax("reorder(causal(), k=zigzag(2))",
               "expected q=... or kv=... in reorder(), got 'k' at column 19\n"
               "  reorder(causal(), k=zigzag(2))\n                    ^");
  ExpectSyntax("reorder(causal(), q=zigzag(2), q=zigzag(2))",
               "argument 'q' is given twice at column 32\n"
               "  reorder(causal(), q=zigzag(2), q=zigzag(2))\n                                 ^");
  ExpectSyntax("reorder(causal(), q=zigzag(2) kv=zigzag(2))",
               "expected ')' to close reorder, got 'kv' at column 31\n"
               "  reorder(causal(), q=zigzag(2) kv=zigzag(2))\n                                ^");
  ExpectSyntax("reorder(causal(), q=sideways(2))",
               "expected a file name in quotes, zigzag(n) or striped(n) at column 21\n"
               "  reorder(causal(), q=sideways(2))\n                      ^");
}

TEST(ParseErrorTest, ChecksListsOfHeads) {
  ExpectSyntax("[causal() & full() * 8]",
               "expected parentheses around the mask that '*' repeats, as '*' binds tighter than "
               "any operator between masks at column 20\n"
               "  [causal() & full() * 8]\n                     ^");
  ExpectSyntax("causal() * 8",
               "expected an operator or the end of the text, got '*' at column 10\n"
               "  causal() * 8\n           ^");
  ExpectSyntax("[(causal() * 8)]",
               "expected '*' only after a whole mask in a list of heads at column 12\n"
               "  [(causal() * 8)]\n             ^");
  ExpectSyntax("[]", "expected at least one head in the list at column 1\n  []\n  ^");
  ExpectSyntax("[causal() * 0]",
               "expected 1 to 1048576 heads after '*' at column 13\n"
               "  [causal() * 0]\n              ^");
  ExpectSyntax("[causal() * 9999999999999999999999]",
               "expected 1 to 1048576 heads after '*' at column 13\n"
               "  [causal() * 9999999999999999999999]\n              ^");
  ExpectSyntax("[causal() full()]",
               "expected ',' or ']' in a list of heads, got 'full' at column "
               "11\n  [causal() full()]\n            ^");
  ExpectError(ErrorCode::kInvalidArgument, "[parse] expected 3 heads, but the list has 2",
              [] { ParseMultiHeadMask("[causal() * 2]", kOfText, 3); });
}

TEST(ParseErrorTest, PassesOnWhatFactoriesAndResolversThrow) {
  ExpectError(ErrorCode::kInvalidArgument,
              "[mask] expected chunk of at least 1, got 0 at column 12\n"
              "  causal() & chunked_causal(0)\n"
              "             ^",
              [] { ParseMask("causal() & chunked_causal(0)", kOfText); });
  ExpectError(ErrorCode::kNotFound,
              "[parse] expected no array here, got \"x.npy\" at column 1\n"
              "  dense(\"x.npy\")\n"
              "  ^",
              [] { ParseMask("dense(\"x.npy\")", kOfText); });
  ExpectError(ErrorCode::kInvalidArgument,
              "[mask] expected zigzag(n) with 2n to divide q_len (12), got n = 5 at column 1\n"
              "  reorder(causal(), q=zigzag(5))\n"
              "  ^",
              [] { ParseMask("reorder(causal(), q=zigzag(5))", kOfText); });
  const std::string deep = std::string(100000, '~') + "causal()";
  ExpectErrorBegins(ErrorCode::kInvalidArgument,
                    "[mask] expected an expression at most 2000 operators deep; combine it in a "
                    "balanced way at column ",
                    [&] { ParseMask(deep, kOfText); });
}

}  // namespace
}  // namespace splashmask
