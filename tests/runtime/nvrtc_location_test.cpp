// Where NVRTC is looked for and in which order, what does not count as one, and that none of it loads anything. The
// libraries are stand-ins: what matters here is their files.
#include <dlfcn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include <gtest/gtest.h>

#include "runtime/builder.h"
#include "runtime/compiler.h"
#include "runtime/doctor.h"
#include "runtime/settings.h"
#include "support/error.h"
#include "tests/tools/temporary_folder.h"

namespace mhcjit::runtime {
namespace {

namespace fs = std::filesystem;

constexpr codegen::Architecture sm_90a = {9, 0, 'a'};

class NvrtcLocationTest : public ::testing::Test {
 protected:
  // An NVRTC of this version, 13.0 unless it is said, with its builtins in `sub` of the private folder; its path.
  std::string install(const std::string& sub, int major = 13, int minor = 0) {
    const fs::path to = folder / sub, from = fs::path(FAKE_NVRTC).parent_path();
    fs::create_directories(to);
    const fs::path library = to / fmt::format("libnvrtc.so.{}", major);
    fs::copy_file(from / "libnvrtc.so.13", library, fs::copy_options::overwrite_existing);
    fs::copy_file(from / "libnvrtc-builtins.so.13.0", to / fmt::format("libnvrtc-builtins.so.{}.{}", major, minor),
                  fs::copy_options::overwrite_existing);
    return library;
  }

  // Makes another build of the library.
  static void change_build_id(const std::string& library) {
    std::string bytes = test::read_file(library);
    // Name size 4, a SHA-1's 20 bytes, type 3, "GNU".
    const std::string note("\x04\0\0\0\x14\0\0\0\x03\0\0\0GNU\0", 16);
    const std::size_t at = bytes.find(note);
    ASSERT_NE(at, std::string::npos) << library << " has no build-id";
    bytes[at + note.size()] ^= 1;
    test::write_file(library, bytes);
  }

  static bool has_its_own_nvrtc() {
    auto found = Compiler().identities(sm_90a);
    if (found) return true;
    consumeError(found.takeError());
    return false;
  }

  static mhcjit_problem problem_of(std::int64_t d) {
    return {.op = MHCJIT_PRE_FORWARD, .n = 4, .d = d, .dtype = MHCJIT_BF16};
  }

  // What mhcjit_compile() returns in a process of its own: what it loads would be found.
  static int compiled(const std::string& cache_dir, const std::string& read_only, const std::string& nvrtc_path,
                      std::int64_t d = 256) {
    return in_a_child([&] {
      mhcjit_engine_options options = {};
      options.cache_dir = cache_dir.c_str();
      options.read_only_cache_dirs = read_only.c_str();
      options.nvrtc_path = nvrtc_path.empty() ? nullptr : nvrtc_path.c_str();
      const mhcjit_problem problem = problem_of(d);
      mhcjit_engine* engine = nullptr;
      mhcjit_engine_create(&options, &engine);
      return mhcjit_compile(engine, &problem, "sm_90a", nullptr);
    });
  }

  const char* variable(const char* name) const {
    const auto found = environment.find(name);
    return found == environment.end() ? nullptr : found->second.c_str();
  }

  llvm::Expected<NvrtcLocation> locate(const std::string& option = "") {
    return locate_nvrtc(option, [this](const char* name) { return variable(name); });
  }

  // The file that is taken for an architecture and a driver's version.
  std::string taken_for(const char* architecture, int driver_version = 0) {
    auto location =
        locate_nvrtc("", [this](const char* name) { return variable(name); },
                     {llvm::cantFail(codegen::parse_architecture(architecture)), [=] { return driver_version; }});
    if (location) return location->library;
    ADD_FAILURE() << take_failure(location.takeError()).text;
    return "";
  }

  // The exit code of `body` in a process of its own, which may load what this one must not.
  template <typename Body>
  static int in_a_child(Body&& body) {
    const pid_t child = ::fork();
    if (child == 0) ::_exit(body());
    int status = -1;
    EXPECT_EQ(::waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  void expect_found(const std::string& library, const std::string& found_by, const std::string& option = "") {
    auto location = locate(option);
    if (!location) {
      ADD_FAILURE() << take_failure(location.takeError()).text;
      return;
    }
    EXPECT_EQ(location->library, fs::canonical(library));
    EXPECT_EQ(location->builtins, fs::canonical(fs::path(library).parent_path() / "libnvrtc-builtins.so.13.0"));
    EXPECT_EQ(location->found_by, found_by);
    EXPECT_EQ(location->major, 13);
    EXPECT_EQ(location->minor, 0);
  }

  void expect_refused(const std::vector<std::string>& parts, const std::string& option = "") {
    auto location = locate(option);
    ASSERT_FALSE(static_cast<bool>(location)) << location->library;
    const Failure failure = take_failure(location.takeError());
    EXPECT_EQ(failure.status, MHCJIT_ERROR_NO_NVRTC);
    for (const std::string& part : parts) EXPECT_NE(failure.text.find(part), std::string::npos) << failure.text;
  }

  test::TemporaryFolder folder;
  std::map<std::string, std::string> environment;
};

// Each place hides those after it.
TEST_F(NvrtcLocationTest, TheOrderOfThePlaces) {
  const std::string cuda_home = install("home/lib64");
  environment["CUDA_HOME"] = folder / "home";
  expect_found(cuda_home, "CUDA_HOME");
  const std::string cuda_path = install("path/lib64");
  environment["CUDA_PATH"] = folder / "path";
  expect_found(cuda_path, "CUDA_PATH");
  const std::string conda = install("conda/lib");
  environment["CONDA_PREFIX"] = folder / "conda";
  expect_found(conda, "CONDA_PREFIX");
  const std::string wheel = "nvidia-cuda-nvrtc wheel";
  const std::string user = install("user/.local/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib");
  environment["HOME"] = folder / "user";
  expect_found(user, wheel);
  const std::string python = install("python/lib/python3.12/site-packages/nvidia/cu13/lib");
  fs::create_directories(folder / "python/bin");
  test::write_file(folder / "python/bin/python3", "#!/bin/sh\n");
  fs::permissions(folder / "python/bin/python3", fs::perms::owner_all);
  environment["PATH"] = "relative:/nonexistent:" + (folder / "python/bin");
  expect_found(python, wheel);
  const std::string conda_wheel = install("conda/lib/python3.9/site-packages/nvidia/cu13/lib");
  expect_found(conda_wheel, wheel);
  const std::string virtual_env = install("venv/lib/python3.13/site-packages/nvidia/cu13/lib");
  environment["VIRTUAL_ENV"] = folder / "venv";
  expect_found(virtual_env, wheel);
  const std::string named = install("named");
  environment["MHCJIT_NVRTC"] = named;
  expect_found(named, "MHCJIT_NVRTC");
  const std::string option = install("option");
  expect_found(option, "nvrtc_path", option);
}

// An older one goes first where it does the job, and only there.
TEST_F(NvrtcLocationTest, OneThatKnowsTheArchitectureGoesFirst) {
  const std::string older = install("path/lib64", 12, 4), newer = install("home/lib64", 12, 9);
  environment["CUDA_PATH"] = folder / "path";
  environment["CUDA_HOME"] = folder / "home";
  for (const char* architecture : {"sm_80", "sm_89", "sm_90a"}) EXPECT_EQ(taken_for(architecture), older);
  for (const char* architecture : {"sm_100a", "sm_100f", "sm_103a", "sm_120a", "sm_121a"})
    EXPECT_EQ(taken_for(architecture), newer) << architecture;
  for (const char* architecture : {"sm_110a", "sm_990a"})
    EXPECT_EQ(taken_for(architecture), newer) << architecture << " is known to neither: the newest may try";
  environment["MHCJIT_NVRTC"] = older;
  EXPECT_EQ(taken_for("sm_100a"), older) << "who names one gets it";
}

// Two wheels side by side.
TEST_F(NvrtcLocationTest, OneWhoseKernelsTheDriverLoadsGoesFirst) {
  const std::string packages = "venv/lib/python3.13/site-packages/nvidia/";
  const std::string newer = install(packages + "cu13/lib"), older = install(packages + "cuda_nvrtc/lib", 12, 9);
  environment["VIRTUAL_ENV"] = folder / "venv";
  EXPECT_EQ(taken_for("sm_90a"), newer) << "no driver is there to ask";
  EXPECT_EQ(taken_for("sm_90a", 13000), newer);
  EXPECT_EQ(taken_for("sm_90a", 14010), newer);
  EXPECT_EQ(taken_for("sm_90a", 12080), older);
  EXPECT_EQ(taken_for("sm_90a", 12000), older) << "minor versions do not matter to the driver";
  EXPECT_EQ(taken_for("sm_110a", 12080), newer) << "the other cannot even compile";
}

TEST_F(NvrtcLocationTest, TheDriverIsAskedOnlyWhereTheAnswerMatters) {
  install("venv/lib/python3.13/site-packages/nvidia/cu13/lib");
  install("home/lib64", 13, 1);
  environment["VIRTUAL_ENV"] = folder / "venv";
  environment["CUDA_HOME"] = folder / "home";
  int asked = 0;
  const NvrtcUse use = {sm_90a, [&] { return ++asked, 13000; }};
  const auto find = [&] { return find_nvrtcs([this](const char* name) { return variable(name); }, use); };
  EXPECT_GE(find().size(), 2u);
  EXPECT_EQ(asked, 0);
  install("home/lib64", 12, 9);
  EXPECT_GE(find().size(), 3u);
  EXPECT_EQ(asked, 1);
}

TEST_F(NvrtcLocationTest, OneThatIsLoadedGoesFirstWhereItDoesTheJob) {
  const std::string loaded = install("loaded", 12, 4), other = install("home/lib64", 12, 9);
  environment["CUDA_HOME"] = folder / "home";
  EXPECT_EQ(taken_for("sm_90a"), other);
  const int failures = in_a_child([&] {
    if (dlopen(loaded.c_str(), RTLD_NOW) == nullptr) return 100;
    return int{taken_for("sm_90a") != loaded} + int{taken_for("sm_100a") != other};
  });
  EXPECT_EQ(failures, 0);
}

TEST_F(NvrtcLocationTest, TheReasonSaysWhatDoesNotFit) {
  NvrtcLocation location;
  location.major = 12;
  location.minor = 4;
  const codegen::Architecture sm_100a = {10, 0, 'a'}, sm_990a = {99, 0, 'a'};
  EXPECT_EQ(unfit_because(location, sm_90a, 12080), "");
  EXPECT_EQ(unfit_because(location, std::nullopt, 0), "");
  EXPECT_EQ(unfit_because(location, sm_100a, 0), "NVRTC 12.4 does not know sm_100a, which came with 12.8");
  EXPECT_EQ(unfit_because(location, sm_990a, 0), "NVRTC 12.4 does not know sm_990a");
  location = {.library = "", .builtins = "", .found_by = "", .major = 13, .minor = 1};
  EXPECT_EQ(unfit_because(location, sm_90a, 12090),
            "kernels of NVRTC 13.1 need a driver of CUDA 13.0 or newer, and this one supports 12.9");
}

TEST_F(NvrtcLocationTest, ANameThatLeadsNowhereIsNotPassedOver) {
  environment["CUDA_PATH"] = folder / "path";
  install("path/lib64");
  environment["MHCJIT_NVRTC"] = folder / "missing/libnvrtc.so.13";
  expect_refused({"MHCJIT_NVRTC is '" + environment["MHCJIT_NVRTC"], "does not exist"});
  expect_refused({"nvrtc_path is '/nonexistent.so'", "does not exist"}, "/nonexistent.so");
  const std::string alone = install("alone");
  fs::remove(folder / "alone/libnvrtc-builtins.so.13.0");
  expect_refused({"nvrtc_path is", "no libnvrtc-builtins.so of its version beside it"}, alone);
}

TEST_F(NvrtcLocationTest, AnNvrtcWithoutItsBuiltinsDoesNotCount) {
  environment["CUDA_PATH"] = folder / "path";
  environment["CUDA_HOME"] = folder / "home";
  install("path/lib64");
  fs::rename(folder / "path/lib64/libnvrtc-builtins.so.13.0", folder / "path/lib64/libnvrtc-builtins.so.12.9");
  expect_found(install("home/lib64"), "CUDA_HOME");
}

TEST_F(NvrtcLocationTest, LinksAreResolved) {
  install("real");
  fs::create_directories(folder / "links");
  fs::create_symlink(folder / "real/libnvrtc.so.13", folder / "links/mine.so");
  expect_found(folder / "real/libnvrtc.so.13", "nvrtc_path", folder / "links/mine.so");
}

TEST_F(NvrtcLocationTest, NothingFoundSaysWhatToDoAndHowManyFoldersItLookedAt) {
  environment["CUDA_HOME"] = folder / "home";
  environment["VIRTUAL_ENV"] = environment["CONDA_PREFIX"] = folder / "venv";
  fs::create_directories(folder / "venv/lib/python3.11");
  if (auto elsewhere = locate()) {
    GTEST_SKIP() << "this machine has an NVRTC of its own: " << elsewhere->library;
  } else {
    consumeError(elsewhere.takeError());
  }
  const std::vector<std::string> folders = searched_folders([this](const char* name) { return variable(name); });
  for (const std::string& one : {folder / "home/lib64 (CUDA_HOME)", folder / "home/lib (CUDA_HOME)",
                                 folder / "venv/lib/python3.11/site-packages/nvidia/cu13/lib (nvidia-cuda-nvrtc wheel)",
                                 std::string("/usr/local/cuda/lib64 (/usr/local/cuda)")})
    EXPECT_EQ(std::count(folders.begin(), folders.end(), one), 1) << one;
  auto location = locate();
  ASSERT_FALSE(static_cast<bool>(location));
  const Failure failure = take_failure(location.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_NO_NVRTC);
  EXPECT_EQ(failure.text.rfind("NVRTC was not found; install it with `pip install nvidia-cuda-nvrtc`", 0), 0u);
  EXPECT_EQ(std::count(failure.text.begin(), failure.text.end(), '\n'), 4) << failure.text;
  EXPECT_NE(failure.text.find(fmt::format("{} folders, which `mhcjit doctor` lists", folders.size())),
            std::string::npos)
      << failure.text;
}

TEST_F(NvrtcLocationTest, DoctorListsTheFoldersWhereItWasSearchedForInVain) {
  ASSERT_EQ(unsetenv("MHCJIT_NVRTC"), 0);
  const mhcjit_engine_options options = {};
  auto findings = find_out(options);
  ASSERT_TRUE(static_cast<bool>(findings));
  if (findings->nvrtc.problem.empty()) GTEST_SKIP() << "this machine has an NVRTC of its own: " << findings->nvrtc.path;
  EXPECT_EQ(findings->nvrtc.searched, searched_folders(get_environment));
  EXPECT_FALSE(findings->nvrtc.searched.empty());

  ASSERT_EQ(setenv("MHCJIT_NVRTC", "/nonexistent", 1), 0);
  findings = find_out(options);
  ASSERT_EQ(unsetenv("MHCJIT_NVRTC"), 0);
  ASSERT_TRUE(static_cast<bool>(findings));
  EXPECT_NE(findings->nvrtc.problem, "");
  EXPECT_TRUE(findings->nvrtc.searched.empty()) << "one that is named is not searched for";
}

TEST_F(NvrtcLocationTest, TheIdentityNamesBothFilesAndLoadsNeither) {
  const std::string library = install("one");
  auto location = locate(library);
  ASSERT_TRUE(static_cast<bool>(location));
  auto identity = identify(*location);
  ASSERT_TRUE(static_cast<bool>(identity));
  EXPECT_EQ(identity->library_id.size(), 40u);
  EXPECT_EQ(identity->builtins_id.size(), 40u);
  EXPECT_NE(identity->library_id, identity->builtins_id);
  EXPECT_EQ(dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD), nullptr);

  EXPECT_EQ(parse_identity(to_string(*identity)), *identity);
  for (const char* text :
       {"", "nvrtc", "nvrtc 13 ab cd", "nvrtc 13.0 ab", "nvrtc 13.0 ab xy", "nvcc 13.0 ab cd", "nvrtc 13.0 ab cd ef"})
    EXPECT_EQ(parse_identity(text), std::nullopt) << text;
}

TEST_F(NvrtcLocationTest, ALibraryThatIsNoLibraryCannotBeIdentified) {
  const std::string library = install("one");
  auto location = locate(library);
  ASSERT_TRUE(static_cast<bool>(location));
  const std::string bytes = test::read_file(library);
  for (const std::string& damaged : {std::string("no ELF file"), std::string(), bytes.substr(0, 70)}) {
    test::write_file(library, damaged);
    auto identity = identify(*location);
    ASSERT_FALSE(static_cast<bool>(identity));
    EXPECT_EQ(take_failure(identity.takeError()).status, MHCJIT_ERROR_NO_NVRTC);
  }
}

TEST_F(NvrtcLocationTest, AFolderRecordsEveryCompilerAndTheNewestIsFirst) {
  const std::string root = folder / "cache";
  fs::create_directories(root);
  EXPECT_TRUE(recorded_identities(root).empty());
  const CompilerIdentity newest = {13, 0, "0123abcd", "4567ef89"};
  const CompilerIdentity rebuilt = {13, 0, "0123abce", "4567ef89"};
  const CompilerIdentity oldest = {12, 9, "89abcdef", "00112233"};
  for (const CompilerIdentity& identity : {newest, oldest, rebuilt, oldest, newest})
    ASSERT_FALSE(static_cast<bool>(record_identity(root, identity)));
  EXPECT_EQ(recorded_identities(root), (std::vector{rebuilt, newest, oldest}));
  EXPECT_EQ(test::read_file(root + "/compiler_identity"),
            to_string(newest) + "\n" + to_string(oldest) + "\n" + to_string(rebuilt) + "\n");
  // What a folder of an older version holds.
  test::write_file(root + "/compiler_identity", to_string(oldest) + "\n");
  EXPECT_EQ(recorded_identities(root), std::vector{oldest});
  test::write_file(root + "/compiler_identity", std::string(5000, 'a'));
  EXPECT_TRUE(recorded_identities(root).empty());
  ASSERT_FALSE(static_cast<bool>(record_identity(root, newest)));
  EXPECT_EQ(recorded_identities(root), std::vector{newest}) << "what is no record is replaced";
}

// Who may write the record decides which of the folder's kernels are used.
TEST_F(NvrtcLocationTest, ARecordThatIsALinkOrAnotherUsersIsNone) {
  const std::string root = folder / "cache", record = root + "/compiler_identity";
  fs::create_directories(root);
  const CompilerIdentity identity = {13, 0, "0123abcd", "4567ef89"};
  ASSERT_FALSE(static_cast<bool>(record_identity(root, identity)));
  fs::rename(record, folder / "elsewhere");
  fs::create_symlink(folder / "elsewhere", record);
  EXPECT_TRUE(recorded_identities(root).empty());
  ASSERT_FALSE(static_cast<bool>(record_identity(root, identity)));
  EXPECT_EQ(recorded_identities(root), std::vector{identity}) << "the link is replaced, not followed";
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give the file to another user";
  ASSERT_EQ(::chown(record.c_str(), 12345, 12345), 0);
  EXPECT_TRUE(recorded_identities(root).empty());
}

// A machine without NVRTC takes the recorded identity; one whose NVRTC was named and is missing does not.
TEST_F(NvrtcLocationTest, TheRecordServesAMachineWithoutNvrtc) {
  const std::string root = folder / "cache";
  fs::create_directories(root);
  const CompilerIdentity recorded = {13, 0, "0123abcd", "4567ef89"};
  ASSERT_FALSE(static_cast<bool>(record_identity(root, recorded)));
  auto named = Compiler({.nvrtc_path = "/nonexistent/libnvrtc.so.13", .writable_root = root}).identities(sm_90a);
  ASSERT_FALSE(static_cast<bool>(named));
  EXPECT_EQ(take_failure(named.takeError()).status, MHCJIT_ERROR_NO_NVRTC);

  ASSERT_EQ(unsetenv("MHCJIT_NVRTC"), 0);
  if (auto elsewhere = Compiler({.writable_root = folder / "empty"}).identities(sm_90a)) {
    GTEST_SKIP() << "this machine has an NVRTC of its own: " << to_string(elsewhere->front());
  } else {
    consumeError(elsewhere.takeError());
  }
  const std::string other_root = folder / "other";
  ASSERT_TRUE(std::filesystem::create_directory(other_root));
  const CompilerIdentity other = {12, 9, "89ab", "cdef"};
  ASSERT_FALSE(static_cast<bool>(record_identity(other_root, other)));
  Compiler compiler({.writable_root = folder / "empty", .read_only_roots = {root, other_root, root}});
  auto identities = compiler.identities(sm_90a);
  ASSERT_TRUE(static_cast<bool>(identities));
  EXPECT_EQ(*identities, (std::vector<CompilerIdentity>{recorded, other}));
  auto output = compiler.compile(sm_90a, {});
  ASSERT_FALSE(static_cast<bool>(output)) << "there is nothing to compile with";
  EXPECT_EQ(take_failure(output.takeError()).status, MHCJIT_ERROR_NO_NVRTC);
}

// A container image is warmed elsewhere and runs where there is no NVRTC: its kernels are used, and the folder that
// they are copied to serves alone later.
TEST_F(NvrtcLocationTest, AnImageServesAMachineWithoutNvrtcAndSoDoesTheCopy) {
  ASSERT_EQ(unsetenv("MHCJIT_NVRTC"), 0);
  if (has_its_own_nvrtc()) GTEST_SKIP() << "this machine has an NVRTC of its own";
  const std::string image = folder / "image", own = folder / "own", nvrtc = FAKE_NVRTC;
  EXPECT_EQ(compiled(image, "", nvrtc), MHCJIT_SUCCESS);
  EXPECT_EQ(compiled(own, "", ""), MHCJIT_ERROR_NO_NVRTC);
  EXPECT_EQ(compiled(own, image, ""), MHCJIT_SUCCESS);
  fs::remove_all(image);
  EXPECT_EQ(compiled(own, "", ""), MHCJIT_SUCCESS);
}

// Whoever ships kernels means them to be used, whichever NVRTC the machine has; in its own folder, a machine keeps to
// its own compiler's.
TEST_F(NvrtcLocationTest, AnImageOfAnotherCompilerServesAMachineWithNvrtc) {
  ASSERT_EQ(unsetenv("MHCJIT_NVRTC"), 0);
  const std::string image = folder / "image", own = folder / "own", theirs = install("theirs");
  change_build_id(install("venv/lib/python3.13/site-packages/nvidia/cu13/lib"));
  EXPECT_EQ(compiled(image, "", theirs), MHCJIT_SUCCESS);
  EXPECT_EQ(compiled(own, "", theirs, 512), MHCJIT_SUCCESS);
  ASSERT_EQ(setenv("VIRTUAL_ENV", (folder / "venv").c_str(), 1), 0);
  ASSERT_EQ(setenv("MHCJIT_NO_COMPILE", "1", 1), 0);
  EXPECT_EQ(compiled(own, image, ""), MHCJIT_SUCCESS);
  EXPECT_EQ(compiled(own, "", "", 512), MHCJIT_ERROR_NOT_IN_CACHE);
  EXPECT_EQ(compiled(own, image, folder / "venv/lib/python3.13/site-packages/nvidia/cu13/lib/libnvrtc.so.13"),
            MHCJIT_ERROR_NOT_IN_CACHE)
      << "one that is named is the only one";
  unsetenv("VIRTUAL_ENV");
  unsetenv("MHCJIT_NO_COMPILE");
}

// Two compilers share a folder. Where there is neither, each one's kernels are found, whoever wrote last; and where the
// driver refuses the one of a problem that has both, the other is used.
TEST_F(NvrtcLocationTest, EachOfSeveralCompilersKernelsServeAMachineWithoutNvrtc) {
  ASSERT_EQ(unsetenv("MHCJIT_NVRTC"), 0);
  if (has_its_own_nvrtc()) GTEST_SKIP() << "this machine has an NVRTC of its own";
  const std::string root = folder / "cache", first = install("first"), second = install("second");
  change_build_id(second);
  EXPECT_EQ(compiled(root, "", first, 256), MHCJIT_SUCCESS);
  EXPECT_EQ(compiled(root, "", first, 512), MHCJIT_SUCCESS);
  EXPECT_EQ(compiled(root, "", second, 256), MHCJIT_SUCCESS);
  EXPECT_EQ(compiled(root, "", "", 256), MHCJIT_SUCCESS);
  EXPECT_EQ(compiled(root, "", "", 512), MHCJIT_SUCCESS) << "the second compiler has no kernel of it";
  EXPECT_EQ(compiled(root, "", "", 768), MHCJIT_ERROR_NO_NVRTC) << "nobody has one";

  Settings settings;
  settings.cache_root = root;
  Builder builder(settings);
  auto problem = codegen::from_public(problem_of(256), {9, 0, 'a'});
  ASSERT_TRUE(static_cast<bool>(problem));
  auto built = builder.build({*problem});
  ASSERT_TRUE(static_cast<bool>(built)) << llvm::toString(built.takeError());
  const codegen::Kernel& kernel = built->compiled->kernels.front();
  const BuiltKernelPtr first_built = built->compiled->built.front();
  std::set<std::string> refused = {first_built->digest};
  auto other = builder.build_anew({*problem}, kernel, refused);
  ASSERT_TRUE(static_cast<bool>(other)) << llvm::toString(other.takeError());
  EXPECT_TRUE((*other)->from_disk);
  EXPECT_NE((*other)->compiler, first_built->compiler);
  refused.insert((*other)->digest);
  auto none = builder.build_anew({*problem}, kernel, refused);
  ASSERT_FALSE(static_cast<bool>(none));
  EXPECT_EQ(take_failure(none.takeError()).status, MHCJIT_ERROR_NO_NVRTC);
}

// An older version of this library kept one compiler's line alone: a hit adds the line of its own.
TEST_F(NvrtcLocationTest, AHitRecordsItsCompiler) {
  ASSERT_EQ(unsetenv("MHCJIT_NVRTC"), 0);
  if (has_its_own_nvrtc()) GTEST_SKIP() << "this machine has an NVRTC of its own";
  const std::string root = folder / "cache", nvrtc = install("first"), other = "nvrtc 12.9 89ab cdef\n";
  EXPECT_EQ(compiled(root, "", nvrtc), MHCJIT_SUCCESS);
  test::write_file(root + "/compiler_identity", other);
  EXPECT_EQ(compiled(root, "", ""), MHCJIT_ERROR_NO_NVRTC);
  EXPECT_EQ(compiled(root, "", nvrtc), MHCJIT_SUCCESS);
  EXPECT_EQ(test::read_file(root + "/compiler_identity").find(other), 0u);
  EXPECT_EQ(compiled(root, "", ""), MHCJIT_SUCCESS);
}

TEST_F(NvrtcLocationTest, OptionsFollowFromTheVersionAndAreSorted) {
  using Options = std::vector<std::string>;
  const Options newer = {"--gpu-architecture=sm_90a", "--minimal", "--no-cache", "--ptxas-options=-v", "--std=c++17"};
  const Options older = {"--gpu-architecture=sm_80", "--ptxas-options=-v", "--std=c++17"};
  EXPECT_EQ(compile_options("sm_90a", {13, 0, "", ""}), newer);
  EXPECT_EQ(compile_options("sm_90a", {12, 9, "", ""}), newer);
  EXPECT_EQ(compile_options("sm_80", {12, 8, "", ""}), older);
}

}  // namespace
}  // namespace mhcjit::runtime
