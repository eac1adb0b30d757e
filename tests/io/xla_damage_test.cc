// SPDX-License-Identifier: Apache-2.0
// Dumps that are cut short, that are no dumps, or whose numbers contradict each other.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "splashmask/io/xla/xla_buffers.h"
#include "tests/io/expect_error.h"
#include "tests/io/temporary_directory.h"
#include "tests/io/xla_sample_dump.h"

namespace splashmask {
namespace {

// The sample with the first `from` behind `after` replaced.
std::string Edited(std::string_view after, std::string_view from, std::string_view to) {
  std::string dump(kSampleXlaDump);
  const size_t at = dump.find(from, dump.find(after));
  EXPECT_NE(at, std::string::npos) << after << " ... " << from;
  return dump.replace(at, from.size(), to);
}

void ExpectDumpError(ErrorCode code, const std::string& dump, int line, const std::string& text) {
  ExpectError(code, fmt::format("[xla] a.txt: line {}: expected {}", line, text),
              [&] { ParseXlaBuffers(dump, "a.txt"); });
}

std::vector<std::string_view> LinesOf(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t size = std::min(text.find('\n'), text.size() - 1) + 1;
    lines.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return lines;
}

// Numbers that contradict each other. The line is that of the second of the two.
TEST(XlaDamageTest, ContradictionsNameBothNumbers) {
  const auto contradict = [](std::string_view after, std::string_view from, std::string_view to,
                             int line, const std::string& text) {
    ExpectDumpError(ErrorCode::kInvalidArgument, Edited(after, from, to), line, text);
  };
  contradict("Buffer", "allocation 1", "allocation 2", 4, "allocation 1, got 2");
  contradict("Total", "8832", "8833", 10,
             "a total of 8832 bytes, the sum of the allocations, got 8833");
  contradict("allocation 1", "4224", "4225", 10,
             "a total of 8833 bytes, the sum of the allocations, got 8832");
  contradict("pair{0} @0", "offset=0", "offset=129", 6,
             "<2 pair{0} @0> to end within the 4224 bytes of allocation 1, got 4096 bytes at 129");
  contradict("allocation 2", "512", "511", 8,
             "<3 pair{1} @1> to end within the 511 bytes of allocation 2, got 512 bytes at 0");
  contradict("pair{0} @0", "size=4096", "size=4000", 6,
             "4096 bytes for f32[8,100]{1,0:T(8,128)}, got 4000");
  ExpectDumpError(
      ErrorCode::kInvalidArgument,
      "BufferAssignment:\nallocation 0: size 8:\n value: <0 a @0> (size=3,offset=0): f32[]", 3,
      "at least 4 bytes for f32[], got 3");
  contradict("allocation 2", "color 1", "color 2", 8,
             "<3 pair{1} @1> to have color 2, as allocation 2, got 1");
  contradict("Buffer", "<2 pair{0}", "<1 pair{0}", 6,
             "each value in one place, got <1 pair{0} @0> again");
}

TEST(XlaDamageTest, UsedValuesAreThoseOfTheAllocations) {
  const auto contradict = [](std::string_view from, std::string_view to, int line,
                             const std::string& text) {
    ExpectDumpError(ErrorCode::kInvalidArgument, Edited("Used values", from, to), line, text);
  };
  contradict("<3 pair{1} @1>", "<4 pair{1} @1>", 30,
             "a value of an allocation, got <4 pair{1} @1>");
  contradict("<3 pair{1} @1>", "<3 pair{0} @1>", 30,
             "<3 pair{1} @1>, as in its allocation, got <3 pair{0} @1>");
  contradict("<3 pair{1} @1>", "<3 pair{1} @0>", 30,
             "<3 pair{1} @1>, as in its allocation, got <3 pair{1} @0>");
  contradict("<2 pair{0} @0>", "<1 pair{} @0>", 25, "each value once, got <1 pair{} @0> again");
  contradict("%x.1 = f32[8,100]", "%x.2 = f32[8,100]", 13, "the instruction x.1, got x.2");
  contradict(
      "%x.1 = f32[8,100]", "%x.1 = f32[8,101]", 13,
      "f32[8,100]{1,0:T(8,128)} at x.1{}, as in its allocation, got f32[8,101]{1,0:T(8,128)}");
  contradict(
      "%pair = (f32[8,100]{1,0:T(8,128)}, s32", "%pair = (s32", 19,
      "(f32[8,100]{1,0:T(8,128)}, s32[3]{0:T(128)S(1)}) at pair{}, as in its allocation, got "
      "(s32[3]{0:T(128)S(1)})");
  contradict("  x.1\n", "  x.2\n", 13, "x.1{} among the positions of <0 x.1{} @0>");
  contradict("  pair {0}\n", "  pair {1}\n", 25, "pair{0} among the positions of <2 pair{0} @0>");
  contradict("pair, operand 0", "pair, operand 1", 13, "operand 1 of pair to hold <0 x.1{} @0>");
  contradict("pair, operand 0", "pair, operand 0 {0}", 13,
             "operand 0 of pair to hold <0 x.1{} @0>");
  std::string dump(kSampleXlaDump);
  dump.replace(dump.rfind("\"Pair\""), 6, "\"Pear\"");
  ExpectDumpError(ErrorCode::kInvalidArgument, dump, 30,
                  "the instruction pair as it was printed before, got another text");
  const size_t last = kSampleXlaDump.find("<3 pair{1} @1>\n");
  ExpectDumpError(ErrorCode::kInvalidArgument, std::string(kSampleXlaDump.substr(0, last)), 12,
                  "4 values, as in the allocations, got 3");
}

TEST(XlaDamageTest, LiveRangesAgreeWithTheSequence) {
  const auto contradict = [](std::string_view from, std::string_view to, int line,
                             const std::string& text) {
    ExpectDumpError(ErrorCode::kInvalidArgument, Edited("HloLiveRange", from, to), line, text);
  };
  contradict("max 3", "max 4", 38, "4 instructions in the sequence, got 3");
  contradict("1:pair", "2:pair", 41, "instruction 1, got 2");
  contradict("x.1{}:0-3", "x.1{}:0-4", 44, "a live range from 0 to 3, got 0 to 4");
  contradict("pair{}:1-2", "pair{}:2-1", 45, "a live range from 0 to 3, got 2 to 1");
  contradict("pair{}:1-2", "pair{}:2-2", 45,
             "a live range around instruction 1, which defines the value, got 2 to 2");
  contradict("pair{}:1-2", "pair{}:0-0", 45,
             "a live range around instruction 1, which defines the value, got 0 to 0");
  contradict("pair{0}:1-1", "pair{}:1-1", 46, "each value once, got pair{} again");
  contradict("pair{0}:1-1", "pair{2}:1-1", 46, "a value of an allocation, got pair{2}");
}

TEST(XlaDamageTest, PeakFollowsFromTheLiveRanges) {
  const auto contradict = [](std::string_view from, std::string_view to, int line,
                             const std::string& text) {
    ExpectDumpError(ErrorCode::kInvalidArgument, Edited("HloLiveRange", from, to), line, text);
  };
  contradict("ranges at 1", "ranges at 3", 48, "a peak before instruction 3, got 3");
  contradict("ranges at 1", "ranges at 2", 49,
             "a value that is live at 2, got pair{0}, live from 1 to 1");
  contradict("ranges at 1", "ranges at 0", 49,
             "a value that is live at 0, got pair{0}, live from 1 to 1");
  contradict("    pair{0}:1-1\n", "", 48, "a value that is live at 1, got pair{0}, live never");
  contradict("pair{0}: 3200", "pair{0}: 4096", 49,
             "3200 bytes for f32[8,100]{1,0:T(8,128)} without padding, got 4096");
  contradict("6416", "6417", 51, "a cumulative 6400 + 16 bytes, got 6417");
  contradict("    pair{1}: 12 bytes (cumulative: 6428 bytes)\n", "", 48,
             "the 4 values that are live at 1, got 3");
  contradict("pair{1}: 12 bytes", "pair{}: 16 bytes", 52, "each value once, got pair{} again");
  contradict("6 428", "6 429", 53, "6428 bytes, as at the peak, got 6429");
}

TEST(XlaDamageTest, SumsPast64BitsAreRefused) {
  const std::string huge = "9223372036854775807";
  ExpectDumpError(ErrorCode::kInvalidArgument, Edited("allocation 1", "4224", huge), 4,
                  "allocations of 64-bit size together");
  ExpectDumpError(ErrorCode::kInvalidArgument, Edited("pair{0} @0", "offset=0", "offset=" + huge),
                  6, "<2 pair{0} @0> to end within the 4224 bytes");
  // Two tuples in the same place.
  const std::string dump = fmt::format(
      "BufferAssignment:\nallocation 0: size {0}:\n value: <0 a{{}} @0> (size={0},offset=0): ()\n"
      " value: <1 b{{}} @0> (size={0},offset=0): ()\n\nHloLiveRange (max 1):\n"
      "  InstructionSequence:\n    0:c\n  BufferLiveRange:\n    a{{}}:0-1\n    b{{}}:0-1\n"
      "  Live ranges at 0 (peak):\n    a{{}}: 0 bytes (cumulative: 0 bytes)\n"
      "    b{{}}: 0 bytes (cumulative: 0 bytes)\n",
      huge);
  ExpectDumpError(ErrorCode::kInvalidArgument, dump, 14, "values of 64-bit size together");
}

// Every number of the sample, one higher. Those that nothing else tells are listed.
TEST(XlaDamageTest, EveryNumberIsHeldAgainstAnother) {
  // Lines, and how many numbers of each may change.
  const std::map<int, int> free_numbers{
      {2, 3},            // The parameter's number, and its shape: a text.
      {5, 2},            // A tuple's size, and an offset with room behind.
      {6, 1},            // The same.
      {7, 1},            // The output's shape, a text.
      {10, 1},           // The total, rounded.
      {18, 1},           // The parameter's number.
      {23, 1}, {35, 2},  // Operands of an instruction that defines no value.
      {45, 1}, {46, 1},  // Live ranges that end later, behind the peak.
      {54, 6},           // The breakdown, which repeats the peak.
  };
  const std::string dump(kSampleXlaDump);
  std::map<int, int> accepted;
  int line = 1;
  for (size_t at = 0; at < dump.size(); ++at) {
    if (dump[at] == '\n') ++line;
    // Digits in names are no numbers.
    const bool in_name = at > 0 && (std::isalnum(dump[at - 1]) || dump[at - 1] == '.');
    if (!std::isdigit(dump[at]) || in_name) continue;
    const size_t end = dump.find_first_not_of("0123456789", at);
    const int64_t number = std::stoll(dump.substr(at, end - at));
    std::string edited = dump;
    edited.replace(at, end - at, std::to_string(number + 1));
    try {
      ParseXlaBuffers(edited, "a.txt");
      ++accepted[line];
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("[xla] a.txt: line "), 0u) << error.what();
    }
  }
  EXPECT_EQ(accepted, free_numbers);
}

TEST(XlaDamageTest, RefusesWhatIsNoDump) {
  const auto no_dump = [](const std::string& dump, int line, const std::string& text) {
    ExpectDumpError(ErrorCode::kSyntax, dump, line, text);
  };
  no_dump("", 1, "'BufferAssignment:', got the end of the file");
  no_dump("\n\nHloModule jit_f\n", 3, "'BufferAssignment:', got 'HloModule jit_f'");
  no_dump("BufferAssignment:\nallocation 0: 512", 2, "': size ', got ': 512'");
  no_dump("BufferAssignment:\nallocation 0: size 512,constant:", 2, "':', got ',constant:'");
  no_dump("BufferAssignment:\nallocation 0: size 512, :", 2, "what the allocation holds, got ':'");
  no_dump("BufferAssignment:\nallocation 0: size 5 KiB:", 2, "':', got ' KiB:'");
  no_dump("BufferAssignment:\nallocation 0: size -5:", 2, "a size, a 64-bit number, got '-5:'");
  no_dump("BufferAssignment:\nallocation 0: size 5:\nvalue", 3,
          "a section of a buffer assignment, each once, got 'value'");
  no_dump("BufferAssignment:\nBufferAssignment:\n", 2,
          "a section of a buffer assignment, each once");
  no_dump(std::string(kSampleXlaDump) + "\nTotal bytes used: 8832 (8.6KiB)\n", 56,
          "a section of a buffer assignment, each once, got 'Total bytes used: 8832");
}

TEST(XlaDamageTest, RefusesLinesThatAreNotAsTheyShouldBe) {
  const auto refuse = [](std::string_view after, std::string_view from, std::string_view to,
                         int line, const std::string& text) {
    ExpectDumpError(ErrorCode::kSyntax, Edited(after, from, to), line, text);
  };
  refuse("Buffer", "<0 x.1 @0>", "<0 x.1>", 3, "' @', got '>");
  refuse("Buffer", "<0 x.1 @0>", "<x.1 @0>", 3, "a value's id, a 64-bit number, got 'x.1 @0>");
  refuse("Buffer", "offset=4096", "offset=", 5, "an offset, a 64-bit number, got '): (f32");
  refuse("Buffer", "s32[3]{0:T(128)S(1)})\n", "s32[3]{0:T(128)S(1)}\n", 5,
         "')', got the end of the line");
  refuse("Buffer", "|f32[8,100]|", "f32[8,100]", 2, "', shape |', got ', shape f32[8,100] at");
  refuse("Used", " positions:", " places:", 14, "' positions:', got ' places:'");
  refuse("Used", " uses:", " using:", 16, "' uses:', got ' using:'");
  refuse("Used", "operand 0", "operand", 17, "', operand ', got ', operand'");
  refuse("Used", " from instruction: %x.1", " from instruction: x.1", 18, "'%', got 'x.1 = ");
  refuse("Used", "%x.1 = ", "%x.1 ", 18, "an instruction's name and ' = ', got 'x.1 f32");
  refuse("Used", "parameter(0)", "Parameter(0)", 18, "an opcode, got 'Parameter(0)");
  refuse("Used", "parameter(0), ", "parameter(0) ", 18, "the end of the line, got ' metadata=");
  refuse("Used", "op_name=\"x\"}", "op_name=\"x}", 18,
         "brackets and strings that end, got the end of the file");
  refuse("HloLiveRange", "    1:pair", "    pair", 41,
         "an instruction's number, a 64-bit number, got 'pair'");
  refuse("HloLiveRange", "x.1{}:0-3", "x.1:0-3", 44, "'{', got ':0-3'");
  refuse("HloLiveRange", "x.1{}:0-3", "x.1{}:0", 44, "'-', got the end of the line");
  refuse("HloLiveRange", " (peak):", ":", 48, "' (peak):', got ':'");
  refuse("HloLiveRange", "3200 bytes (", "3200 (", 49, "' bytes (cumulative: ', got ' (cumulative");
  refuse("HloLiveRange", "6 428 bytes", "x bytes", 53,
         "a number of bytes, a 64-bit number, got 'x'");
}

// Lines of a text up to which it is a dump, if a smaller one: while allocations are listed, between
// the values and the live ranges, and from the end of the peak.
std::set<size_t> WholeDumps(const std::vector<std::string_view>& lines) {
  std::set<size_t> whole;
  const auto first = [&](std::string_view prefix) {
    size_t i = 0;
    while (i < lines.size() && !lines[i].starts_with(prefix)) ++i;
    return i;
  };
  const size_t total = first("Total"), ranges = first("HloLiveRange");
  const size_t breakdown = first("  Stack trace");
  for (size_t i = 1; i <= total; ++i) whole.insert(i);
  for (size_t i = ranges; lines[i - 1] == "\n"; --i) whole.insert({i, i - 1});
  for (size_t i = breakdown; i <= lines.size(); ++i) whole.insert(i);
  return whole;
}

void CutAtEveryLine(std::string_view dump) {
  const std::vector<std::string_view> lines = LinesOf(dump);
  const std::set<size_t> whole = WholeDumps(lines);
  std::string text;
  for (size_t size = 0; size <= lines.size(); ++size) {
    if (size > 0) text += lines[size - 1];
    if (whole.contains(size)) {
      EXPECT_LE(ParseXlaBuffers(text, "a.txt").values.size(),
                ParseXlaBuffers(dump, "").values.size());
      continue;
    }
    try {
      ParseXlaBuffers(text, "a.txt");
      ADD_FAILURE() << "accepted " << size << " lines";
    } catch (const Error& error) {
      EXPECT_EQ(std::string(error.what()).find("[xla] a.txt: line "), 0u) << error.what();
    }
  }
}

TEST(XlaDamageTest, DumpsCutAtALineAreNoticed) {
  CutAtEveryLine(kSampleXlaDump);
  CutAtEveryLine(ReadFile(SPLASHMASK_IO_TESTS "/data/splash_fwd_buffers.txt"));
}

TEST(XlaDamageTest, DumpsCutAnywhereAreReadOrRefused) {
  for (size_t size = 0; size < kSampleXlaDump.size(); ++size) {
    try {
      ParseXlaBuffers(kSampleXlaDump.substr(0, size), "a.txt");
    } catch (const Error& error) {
      EXPECT_TRUE(error.code() == ErrorCode::kSyntax ||
                  error.code() == ErrorCode::kInvalidArgument);
    }
  }
}

}  // namespace
}  // namespace splashmask
