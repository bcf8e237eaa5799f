// What `doctor` reports: everything found where it is, and for what is missing what to do about it.
#include "runtime/doctor.h"

#include "support/error.h"
#include "tests/codegen/tuned_records.h"
#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

class DoctorTest : public FakeGpuTest {
 protected:
  runtime::Findings find_out() {
    auto findings = runtime::find_out(options());
    if (findings) return *findings;
    ADD_FAILURE() << take_failure(findings.takeError()).text;
    return {};
  }
};

TEST_F(DoctorTest, EverythingIsThere) {
  driver().version = 13010;
  const runtime::Findings findings = find_out();
  EXPECT_EQ(findings.library_version, mhcjit_version());
  EXPECT_EQ(findings.driver.path, FAKE_DRIVER);
  EXPECT_EQ(findings.driver.version, "13.1");
  EXPECT_EQ(findings.driver.problem, "");
  ASSERT_EQ(findings.devices.size(), 2u);
  EXPECT_EQ(findings.devices[1].ordinal, 1);
  EXPECT_EQ(findings.devices[1].name, "Fake GPU 1");
  EXPECT_EQ(findings.devices[1].compute_capability, "9.0");
  EXPECT_EQ(findings.devices[1].architecture, "sm_90a");
  EXPECT_EQ(findings.devices[1].memory_bytes, driver().free_bytes);
  EXPECT_EQ(findings.nvrtc.path, FAKE_NVRTC);
  EXPECT_EQ(findings.nvrtc.found_by, "nvrtc_path");
  EXPECT_EQ(findings.nvrtc.version, "13.0");
  EXPECT_EQ(findings.nvrtc.identity.rfind("nvrtc 13.0 ", 0), 0u);
  EXPECT_EQ(findings.nvrtc.problem, "");
  EXPECT_EQ(findings.cache.root, cache_dir);
  EXPECT_EQ(findings.cache.problem, "");
  EXPECT_TRUE(findings.gpu_ready());
  EXPECT_EQ(folder.file_count(), 0) << "looking creates nothing";
}

// The fake compiler of this process is of CUDA 13.
TEST_F(DoctorTest, SaysWhichNvrtcIsTakenAndWhyNotTheOthers) {
  namespace fs = std::filesystem;
  compiler();
  const fs::path wheel = folder / "venv/lib/python3.13/site-packages/nvidia/cuda_nvrtc/lib";
  fs::create_directories(wheel);
  fs::copy_file(FAKE_NVRTC, wheel / "libnvrtc.so.12");
  fs::copy_file(fs::path(FAKE_NVRTC).replace_filename("libnvrtc-builtins.so.13.0"),
                wheel / "libnvrtc-builtins.so.12.9");
  ASSERT_EQ(::setenv("VIRTUAL_ENV", (folder / "venv").c_str(), 1), 0);
  mhcjit_engine_options asked = options();
  asked.nvrtc_path = nullptr;
  const auto nvrtc_for = [&](int driver_version) {
    driver().version = driver_version;
    return llvm::cantFail(runtime::find_out(asked)).nvrtc;
  };
  // In this order: what is taken is loaded.
  const runtime::Findings::Nvrtc with_new_driver = nvrtc_for(13000);
  const runtime::Findings::Nvrtc with_old_driver = nvrtc_for(12080);
  ::unsetenv("VIRTUAL_ENV");
  const std::string loaded = std::string(FAKE_NVRTC) + " (already loaded in the process): ";
  EXPECT_EQ(with_old_driver.path, wheel / "libnvrtc.so.12");
  EXPECT_EQ(with_old_driver.problem, "");
  EXPECT_TRUE(llvm::is_contained(
      with_old_driver.others,
      loaded + "kernels of NVRTC 13.0 need a driver of CUDA 13.0 or newer, and this one supports 12.8"))
      << fmt::format("{}", fmt::join(with_old_driver.others, "\n"));
  EXPECT_EQ(with_new_driver.path, FAKE_NVRTC);
  EXPECT_TRUE(llvm::is_contained(
      with_new_driver.others,
      (wheel / "libnvrtc.so.12").native() + " (nvidia-cuda-nvrtc wheel): would serve, but comes later in the search"))
      << fmt::format("{}", fmt::join(with_new_driver.others, "\n"));
}

TEST_F(DoctorTest, AnNvrtcThatIsTooNewForTheDriverIsAProblem) {
  driver().version = 12080;
  const runtime::Findings findings = find_out();
  EXPECT_EQ(findings.nvrtc.path, FAKE_NVRTC);
  EXPECT_TRUE(findings.nvrtc.problem.starts_with("kernels of NVRTC 13.0 need a driver of CUDA 13.0"))
      << findings.nvrtc.problem;
  EXPECT_FALSE(findings.gpu_ready());
}

TEST_F(DoctorTest, NothingIsThere) {
  driver_path = "/nonexistent/libcuda.so.1";
  nvrtc_path = "/nonexistent/libnvrtc.so.13";
  write_file(cache_dir, "a file");
  const runtime::Findings findings = find_out();
  EXPECT_NE(findings.driver.problem.find("install an NVIDIA driver"), std::string::npos);
  EXPECT_TRUE(findings.devices.empty());
  EXPECT_NE(findings.devices_problem, "");
  EXPECT_NE(findings.nvrtc.problem.find("/nonexistent/libnvrtc.so.13"), std::string::npos);
  EXPECT_NE(findings.cache.problem.find("MHCJIT_CACHE_DIR"), std::string::npos);
  EXPECT_FALSE(findings.gpu_ready());
}

TEST_F(DoctorTest, AnUnusableDeviceIsListedWithTheReason) {
  driver().major = 7;
  const runtime::Findings findings = find_out();
  ASSERT_EQ(findings.devices.size(), 2u);
  EXPECT_NE(findings.devices[0].problem.find("compute capability 7.0"), std::string::npos);
  EXPECT_FALSE(findings.gpu_ready());
}

TEST_F(DoctorTest, NoDevice) {
  driver().device_count = 0;
  const runtime::Findings findings = find_out();
  EXPECT_EQ(findings.driver.problem, "");
  EXPECT_NE(findings.devices_problem.find("nvidia-smi"), std::string::npos);
}

TEST_F(DoctorTest, ACacheFolderThatOthersMayWriteIsNotUsed) {
  std::filesystem::create_directory(cache_dir);
  std::filesystem::permissions(cache_dir, std::filesystem::perms::all);
  EXPECT_NE(find_out().cache.problem.find("chmod 700"), std::string::npos);
}

TEST_F(DoctorTest, ReadOnlyFoldersAreListedWithWhatIsWrongWithThem) {
  prepare(make_engine(), forward_problem);
  const std::string absent = folder / "absent", planted = folder / "planted";
  std::filesystem::create_directory(planted);
  std::filesystem::permissions(planted, std::filesystem::perms::all);
  const std::string list = cache_dir + ":" + absent + ":" + planted;
  mhcjit_engine_options asked = options();
  asked.read_only_cache_dirs = list.c_str();
  auto findings = runtime::find_out(asked);
  ASSERT_TRUE(static_cast<bool>(findings)) << take_failure(findings.takeError()).text;
  ASSERT_EQ(findings->read_only_caches.size(), 3u);
  EXPECT_EQ(findings->read_only_caches[0].root, cache_dir);
  EXPECT_EQ(findings->read_only_caches[0].recorded_compiler, findings->nvrtc.identity);
  EXPECT_EQ(findings->read_only_caches[0].problem, "");
  EXPECT_NE(findings->read_only_caches[1].problem.find(absent + " is not a folder"), std::string::npos);
  EXPECT_NE(findings->read_only_caches[2].problem.find("chmod go-w"), std::string::npos);
}

// Where the folder lies would depend on the current folder; who sets the variable must not learn that from slow starts.
TEST_F(DoctorTest, VariablesThatAreNoAbsolutePathsAreNamedHereAndOnceInAnEnginesLog) {
  ASSERT_EQ(::setenv("MHCJIT_CACHE_DIR", "kernels", 1), 0);
  ASSERT_EQ(::setenv("MHCJIT_CACHE_RO", ("~/shared:" + cache_dir).c_str(), 1), 0);
  std::filesystem::create_directory(cache_dir);
  mhcjit_engine_options asked = options();
  asked.cache_dir = nullptr;
  auto findings = runtime::find_out(asked);
  mhcjit_engine* made = nullptr;
  EXPECT_EQ(mhcjit_engine_create(&asked, &made), MHCJIT_SUCCESS);
  const EnginePtr engine(made);
  prepare(engine, forward_problem);
  ::unsetenv("MHCJIT_CACHE_DIR");
  ::unsetenv("MHCJIT_CACHE_RO");

  const std::string of_dir = "MHCJIT_CACHE_DIR is 'kernels', allowed: an absolute path; it is not used";
  const std::string of_read_only =
      "MHCJIT_CACHE_RO is '~/shared', allowed: an absolute path (no shell has replaced the ~: write $HOME); it is not "
      "used";
  EXPECT_EQ(warnings, (std::vector<std::string>{of_dir, of_read_only}));
  ASSERT_TRUE(static_cast<bool>(findings)) << take_failure(findings.takeError()).text;
  EXPECT_TRUE(findings->cache.problem.starts_with(of_dir)) << findings->cache.problem;
  ASSERT_EQ(findings->read_only_caches.size(), 2u);
  EXPECT_EQ(findings->read_only_caches[0].problem, "");
  EXPECT_EQ(findings->read_only_caches[1].root, "~/shared");
  EXPECT_EQ(findings->read_only_caches[1].problem, of_read_only);

  warnings.clear();
  make_engine();
  EXPECT_EQ(warnings, std::vector<std::string>{}) << "an option stands in place of the variable";
}

TEST_F(DoctorTest, TheTunedRecordIsShownWithWhatIsWrongWithIt) {
  const std::string path = folder / "tuned.jsonl";
  const auto look = [&](const std::string& text) {
    write_file(path, text);
    mhcjit_engine_options asked = options();
    asked.tuned_path = path.c_str();
    return llvm::cantFail(runtime::find_out(asked)).tuned;
  };
  const auto has = [](const std::string& text, const std::string& part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  codegen::TunedChoice choice = {llvm::cantFail(codegen::from_public(forward_problem, {9, 0, 'a'})),
                                 {{codegen::max_tokens, to_string(*buckets_of(forward_problem).front().plan)}},
                                 std::vector<codegen::TunedRow>(2)};
  choice.rows[0].tokens = 1;
  choice.rows[1].tokens = 64;
  codegen::RecordHeader header = codegen::made_up_header();
  header.device = "Fake GPU 0";
  header.multiprocessors = 132;

  EXPECT_EQ(find_out().tuned.path, "");
  const runtime::Findings::TunedRecord mixed = look(to_line(header) + to_line(choice));
  has(mixed.problem, "was made on Fake GPU 0, sm_90a with 132 multiprocessors, and device 1 is Fake GPU 1, sm_90a");
  driver().device_count = 1;
  const runtime::Findings::TunedRecord fits = look(to_line(header) + to_line(choice));
  EXPECT_EQ(fits.problem, "");
  EXPECT_EQ(fits.path, path);
  EXPECT_EQ(fits.device, "Fake GPU 0");
  EXPECT_EQ(fits.architecture, "sm_90a");
  EXPECT_EQ(fits.multiprocessors, 132);
  EXPECT_EQ(fits.problems, 1u);
  EXPECT_EQ(fits.rows, 2u);

  has(look(to_line(header)).problem, "it has no choices");
  has(look("{}\n").problem, "it is not used: " + path);
  has(look("{}\n").problem, "or unset MHCJIT_TUNED");
  EXPECT_EQ(look("{}\n").device, "");
  mhcjit_engine_options asked = options();
  asked.tuned_path = "/nonexistent/tuned.jsonl";
  has(llvm::cantFail(runtime::find_out(asked)).tuned.problem, "/nonexistent/tuned.jsonl cannot be read");
}

TEST_F(DoctorTest, TheShippedPlansAreShown) {
  const std::vector<runtime::Findings::TunedRecord> shipped = find_out().shipped;
  ASSERT_EQ(shipped.size(), 1u);
  EXPECT_EQ(shipped[0].architecture, "sm_90a");
  EXPECT_EQ(shipped[0].device, "NVIDIA H200");
  EXPECT_EQ(shipped[0].path, "");
  EXPECT_EQ(shipped[0].problem, "");
  EXPECT_GE(shipped[0].rows, 8 * shipped[0].problems);
  EXPECT_GE(shipped[0].problems, 20u);
}

TEST_F(DoctorTest, TheRecordedCompilerIsShown) {
  prepare(make_engine(), forward_problem);
  const runtime::Findings findings = find_out();
  EXPECT_EQ(findings.cache.recorded_compiler, findings.nvrtc.identity);
}

}  // namespace
}  // namespace mhcjit::test
