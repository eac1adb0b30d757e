// SPDX-License-Identifier: Apache-2.0
// Whatever stops a write, the file that was there stays as it was and nothing is left behind.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>

#include "splashmask/io/plan_file.h"
#include "tests/io/expect_error.h"
#include "tests/io/sample_plans.h"
#include "tests/io/temporary_directory.h"

namespace splashmask {
namespace {

// No file may grow beyond `bytes` while this lives: writes fail, as on a full disk.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    handler_ = std::signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit{bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &old_);
    std::signal(SIGXFSZ, handler_);
  }

 private:
  rlimit old_;
  void (*handler_)(int);
};

// Root may write anywhere, so while this lives root is nobody.
class Unprivileged {
 public:
  Unprivileged() : root_(geteuid() == 0) { EXPECT_EQ(root_ ? seteuid(65534) : 0, 0); }
  ~Unprivileged() { EXPECT_EQ(root_ ? seteuid(0) : 0, 0); }

 private:
  const bool root_;
};

class PlanWriteFailureTest : public testing::Test {
 protected:
  PlanWriteFailureTest() { WriteFile(path_, "the old file"); }

  void ExpectUntouched() {
    EXPECT_TRUE(ReadFile(path_) == "the old file");
    EXPECT_EQ(directory_.Names(), std::vector<std::string>{"plan.h5"});
  }

  const TemporaryDirectory directory_;
  const std::string path_ = directory_ / "plan.h5";
  const Plan plan_ = SamplePlanNamed("tables");
};

TEST_F(PlanWriteFailureTest, FullDiskAtEveryPoint) {
  WritePlan(plan_, directory_ / "whole.h5");
  const auto size = static_cast<rlim_t>(std::filesystem::file_size(directory_ / "whole.h5"));
  std::filesystem::remove(directory_ / "whole.h5");
  for (rlim_t limit = 0; limit < size; limit += limit < 1024 ? 64 : 229) {
    ErrorCode code = ErrorCode::kNotFound;
    std::string text;
    {
      const FileSizeLimit full(limit);
      try {
        WritePlan(plan_, path_);
      } catch (const Error& error) {
        code = error.code();
        text = error.what();
      }
    }
    EXPECT_EQ(ErrorCodeName(code), "Io") << limit;
    EXPECT_TRUE(text.starts_with("[write_plan] " + path_ + ": cannot ")) << text;
    EXPECT_NE(text.find(": File too large"), std::string::npos) << text;
    ExpectUntouched();
  }
  WritePlan(plan_, path_);
  EXPECT_TRUE(ReadPlan(path_).plan.mask == plan_.mask);
}

TEST_F(PlanWriteFailureTest, FullFileSystem) {
  const std::string disk = directory_ / "disk";
  std::filesystem::create_directory(disk);
  if (mount("tmpfs", disk.c_str(), "tmpfs", 0, "size=16k") != 0) {
    GTEST_SKIP() << "only root can mount a small disk; FullDiskAtEveryPoint stands in for it";
  }
  WriteFile(disk + "/plan.h5", "old");
  ExpectError(ErrorCode::kIo,
              "[write_plan] " + disk + "/plan.h5: cannot write the file: No space left on device",
              [&] { WritePlan(SamplePlanNamed("many_arrays"), disk + "/plan.h5"); });
  EXPECT_EQ(ReadFile(disk + "/plan.h5"), "old");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(disk), {}), 1);
  EXPECT_EQ(umount(disk.c_str()), 0);
}

TEST_F(PlanWriteFailureTest, DirectoryThatIsNotThere) {
  ExpectError(ErrorCode::kIo,
              "[write_plan] " + (directory_ / "no/plan.h5") +
                  ": cannot create a file in its directory: No such file or directory",
              [&] { WritePlan(plan_, directory_ / "no/plan.h5"); });
  ExpectError(ErrorCode::kIo, "Not a directory", [&] { WritePlan(plan_, path_ + "/plan.h5"); });
  ExpectUntouched();
}

TEST_F(PlanWriteFailureTest, DirectoryThatCannotBeWritten) {
  chmod(directory_.path().c_str(), 0555);
  {
    const Unprivileged nobody;
    ExpectError(ErrorCode::kIo,
                "[write_plan] " + path_ + ": cannot replace the file: Permission denied",
                [&] { WritePlan(plan_, path_); });
    ExpectError(ErrorCode::kIo, ": cannot create a file in its directory: Permission denied",
                [&] { WritePlan(plan_, directory_ / "new.h5"); });
  }
  chmod(directory_.path().c_str(), 0755);
  ExpectUntouched();
}

TEST_F(PlanWriteFailureTest, FileThatIsWriteProtected) {
  chmod(directory_.path().c_str(), 0777);
  chmod(path_.c_str(), 0444);
  {
    const Unprivileged nobody;
    ExpectError(ErrorCode::kIo,
                "[write_plan] " + path_ + ": cannot replace the file: Permission denied",
                [&] { WritePlan(plan_, path_); });
  }
  ExpectUntouched();
}

TEST_F(PlanWriteFailureTest, DevicesAndDirectoriesAreNotReplaced) {
  ExpectError(ErrorCode::kIo,
              "[write_plan] /dev/full: expected a regular file or a new name, got a device",
              [&] { WritePlan(plan_, "/dev/full"); });
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/full"));
  ExpectError(ErrorCode::kIo, "expected a regular file or a new name, got a directory",
              [&] { WritePlan(plan_, directory_.path()); });
  ExpectUntouched();
}

TEST_F(PlanWriteFailureTest, StopIsObeyedAtEveryReport) {
  for (int stop_at = 0; stop_at < 3; ++stop_at) {
    std::atomic<bool> stop = stop_at == 0;
    int reports = 0;
    Progress progress;
    progress.stop = &stop;
    progress.report = [&](double done) {
      if (++reports == stop_at) stop = true;
      EXPECT_LT(done, 1.0);
    };
    ExpectError(ErrorCode::kCancelled, "", [&] { WritePlan(plan_, path_, progress); });
    ExpectUntouched();
  }
}

TEST_F(PlanWriteFailureTest, PermissionsFollowTheUmask) {
  const mode_t old = umask(027);
  WritePlan(plan_, path_);
  umask(old);
  struct stat status;
  ASSERT_EQ(stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0640u);
}

TEST_F(PlanWriteFailureTest, LinkIsFollowed) {
  std::filesystem::create_directory(directory_ / "store");
  WriteFile(directory_ / "store/real.h5", "old");
  std::filesystem::create_symlink("store/real.h5", directory_ / "link.h5");
  WritePlan(plan_, directory_ / "link.h5");
  EXPECT_TRUE(std::filesystem::is_symlink(directory_ / "link.h5"));
  EXPECT_TRUE(ReadPlan(directory_ / "store/real.h5").plan.mask == plan_.mask);
}

TEST_F(PlanWriteFailureTest, LongestNameIsFine) {
  const std::string name(255, 'n');
  WritePlan(plan_, directory_ / name);
  EXPECT_TRUE(ReadPlan(directory_ / name).plan.mask == plan_.mask);
}

TEST_F(PlanWriteFailureTest, NameWithoutDirectory) {
  const std::filesystem::path old = std::filesystem::current_path();
  std::filesystem::current_path(directory_.path());
  WritePlan(plan_, "plan.h5");
  std::filesystem::current_path(old);
  EXPECT_TRUE(ReadPlan(path_).plan.mask == plan_.mask);
}

}  // namespace
}  // namespace splashmask
