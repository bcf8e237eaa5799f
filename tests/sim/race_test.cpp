// Missing barriers, waits and arrivals: ThreadSanitizer finds no race in the kernels; as soon as any of them is deleted
// it finds one, or the kernel locks or breaks a barrier's rules.
//
// One of each kind is deleted from the one-pass kernels, since all of them take minutes: those are deleted with
// `ctest -C nightly -L nightly`, by MHCJIT_RACE_DELETE=all.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "tests/sim/place.h"
#include "tests/sim/race_process.h"

namespace {

using mhcjit::sim::folder_and_name;
using mhcjit::test::Finished;
using mhcjit::test::race_exit_code;

constexpr int fault_exit_code = 67;  // of threads.h

// Where threads of a kernel meet, arrive or wait.
struct Place {
  std::string name;      // "common/sums.cuh:47"
  std::string function;  // of the kernel
  std::string call;      // "barrier_wait(full(stage), parity);", up to the end of its line

  std::string_view kind() const { return std::string_view(call).substr(0, call.find('(')); }
};

// Places whose deletion alone no run can show.
struct Unseen {
  std::string_view function;
  std::string_view call;  // how it begins

  bool contains(const Place& place) const { return place.function == function && place.call.starts_with(call); }
};

enum class Deleted { each, one_of_each_kind };

// A program that runs kernels on threads, what it is to run, and where the kernels stand.
struct Program {
  const char* name;
  const char* path;
  std::vector<std::string> arguments;
  std::vector<std::filesystem::path> kernels;
  std::vector<Unseen> unseen = {};
  Deleted deleted = Deleted::each;
};

Finished run(const Program& program, const std::vector<std::string>& more_arguments, const char* sanitizer_options) {
  std::vector<std::string> arguments = program.arguments;
  arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
  return mhcjit::test::run_under_thread_sanitizer(program.path, std::move(arguments), sanitizer_options);
}

std::set<std::string> lines_of(const std::string& text) {
  std::istringstream stream(text);
  std::set<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.insert(line);
  return lines;
}

std::vector<Place> places_in(const std::vector<std::filesystem::path>& kernels) {
  static const std::regex calls(
      R"(device::((block_barrier|warp_barrier|barrier_(arrive|arrive_expect|wait|wait_cluster)|cluster_(arrive|arrive_release|wait)|copy_wait<.*>|store_wait(_read)?<.*>|wgmma_wait(<.*>|_for))\(.*))");
  static const std::regex functions(R"(^\s*MHCJIT_DEVICE [^(]*\b(\w+)\()");
  std::vector<Place> places;
  for (const std::filesystem::path& file : kernels) {
    std::ifstream stream(file);
    std::string function;
    int number = 0;
    std::smatch match;
    for (std::string line; std::getline(stream, line);) {
      ++number;
      if (std::regex_search(line, match, functions)) function = match[1];
      if (std::regex_search(line, match, calls))
        places.push_back({fmt::format("{}:{}", folder_and_name(file.native()), number), function, match[1]});
    }
  }
  return places;
}

std::set<std::string> names_of(const std::vector<Place>& places) {
  std::set<std::string> names;
  for (const Place& place : places) names.insert(place.name);
  return names;
}

const std::filesystem::path templates = MHCJIT_TEMPLATES;
constexpr const char* one_pass = "pre_forward/one_pass.cuh";
constexpr const char* few_tokens = "pre_forward/few_tokens.cuh";
constexpr const char* project_wgmma = "pre_forward/project_wgmma.cuh";
constexpr std::string_view backward_one_pass = "pre_backward/one_pass";  // its files begin so
constexpr const char* pre_backward = "pre_backward/";
constexpr const char* sums = "common/sums.cuh";

// The templates whose names are wanted.
template <typename Wanted>
std::vector<std::filesystem::path> kernels_where(const Wanted& is_wanted) {
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::recursive_directory_iterator(templates))
    if (file.path().extension() == ".cuh" && is_wanted(file.path().lexically_relative(templates).string()))
      files.push_back(file.path());
  return files;
}

// Less the device vocabulary and other kernels than the portable ones.
std::vector<std::filesystem::path> portable_kernels() {
  const std::set<std::string> others = {one_pass, few_tokens, project_wgmma, sums};
  return kernels_where([&](const std::string& name) {
    return !others.contains(name) && !name.starts_with(pre_backward) && !name.starts_with("device/");
  });
}

// A role's wait for the other blocks to have begun is not all that keeps it from sending to them early: the gemm warps
// and the reducer wait both, and what others send follows upon that. The roles that send nothing wait because the
// hardware wants a wait after each arrival. OnePassRace deletes them together.
const std::vector<Unseen> waits_for_blocks = {{"multiply_tiles", "cluster_wait()"},
                                              {"apply_tiles", "cluster_wait()"},
                                              {"produce_tiles", "cluster_wait()"},
                                              {"reduce_tiles", "cluster_wait()"},
                                              {"finalise_tiles", "cluster_wait()"}};

std::vector<Unseen> unseen_in_one_pass() {
  std::vector<Unseen> unseen = waits_for_blocks;
  // h_pre of a tile, for which they wait next, comes of the whole tile.
  unseen.push_back({"apply_tiles", "barrier_wait(plan.full(ring.index)"});
  // Sums that come later than all those of a later tile: bad luck that a run does not have.
  unseen.push_back({"finalise_tiles", "barrier_wait(plan.full(ring.index)"});
  // They keep a lane from falling so far behind that a barrier's parity is that of its phase again: bad luck too.
  unseen.push_back({"produce_tiles", "warp_barrier()"});
  // The instruction behind it wants the whole warp; a thread of a processor has none.
  unseen.push_back({"pre_forward_one_pass", "warp_barrier()"});
  // Each block has waited for all that others send to it.
  unseen.push_back({"pre_forward_one_pass", "cluster_wait()"});
  return unseen;
}

Program one_pass_program() {
  return {"one_pass",           MHCJIT_RACE_CHECK,        {"n3_d128_bf16_gamma_c2_t8_s3", "67"}, {templates / one_pass},
          unseen_in_one_pass(), Deleted::one_of_each_kind};
}

const std::vector<Unseen> unseen_in_backward_one_pass = {
    // Coefficients of a tile, for which the consumers wait next, come of the whole tile.
    {"consume_tiles", "barrier_wait(plan.full(stage.index)"},
    // It keeps x from coming before phi, which is not a matter of order.
    {"copy_tiles", "barrier_wait(plan.phi_loaded()"},
    // Nothing in the kernel reads dx.
    {"copy_tiles", "store_wait<0>()"},
    // Sums in global memory say themselves that they have come.
    {"send_dots", "warp_barrier()"},
    // It keeps a lane from falling so far behind that a barrier's parity is that of its phase again.
    {"copy_scalars", "warp_barrier();  // keeps"},
    // The instruction behind it wants the whole warp.
    {"pre_backward_one_pass", "warp_barrier()"},
};

// In clusters, in blocks that exchange sums through the L2 cache, and with coefficient warps that take turns.
Program backward_one_pass_program() {
  return {
      "backward_one_pass",
      MHCJIT_RACE_CHECK,
      {"n4_d128_bf16_gamma_c2_e2_s3", "137", "n4_d128_bf16_gamma_l2_e2_s3", "137", "n4_d128_bf16_c2_r136_s3", "137"},
      kernels_where([](const std::string& name) { return name.starts_with(backward_one_pass); }),
      unseen_in_backward_one_pass,
      Deleted::one_of_each_kind};
}

Program few_tokens_program() {
  return {"few_tokens", MHCJIT_RACE_CHECK, {"n4_d64_bf16_gamma_f2_k1_s3", "13"}, {templates / few_tokens}};
}

// A block that ends while another still reads what it has: bad luck that a run does not have. And what the producer
// does because the hardware wants it, as of one pass.
const Unseen end_of_applying = {"apply_in_cluster", "cluster_wait();  // until"};
const std::vector<Unseen> unseen_in_project_wgmma = {
    end_of_applying, {"pre_forward_project_wgmma", "cluster_wait()"}, {"pre_forward_project_wgmma", "warp_barrier()"}};

// The whole warp loads matrices and stores them: in the simulator it meets there, too.
const Unseen between_matrices = {"make_dx_of_split", "warp_barrier();  // until every lane"};

std::vector<std::filesystem::path> pre_backward_kernels() {
  std::vector<std::filesystem::path> files = {templates / sums};
  for (const char* name : {"bias.cuh", "coefficients.cuh", "dx.cuh", "phi.cuh"})
    files.push_back(templates / pre_backward / name);
  return files;
}

std::vector<Program> programs() {
  // Those that multiply also as clusters.
  return {
      {"portable",
       MHCJIT_RACE_CHECK,
       {"n1_d264_fp16_gamma", "3", "n1_d100_bf16_w16_r1_c2", "13"},
       portable_kernels(),
       {end_of_applying}},
      {"pre_backward",
       MHCJIT_RACE_CHECK,
       {"n1_d264_bf16_gamma", "3", "n1_d264_bf16_b1_m1", "21", "n8_d16_bf16_gamma_b1_s2", "45", "n2_d36_fp32_b1_s2",
        "45", "n2_d64_bf16_gamma_b1_a2", "45", "n2_d37_bf16_m1_s2", "45"},
       pre_backward_kernels(),
       {between_matrices}},
      few_tokens_program(),
      {"project_wgmma",
       MHCJIT_RACE_CHECK,
       {"n1_d264_bf16_gamma_g1_s2", "3", "n4_d120_bf16_gamma_g1_c2_s2", "13"},
       {templates / project_wgmma, templates / "pre_forward/apply.cuh", templates / "pre_forward/apply_in_cluster.cuh"},
       unseen_in_project_wgmma},
      one_pass_program(),
      {"exchange", MHCJIT_EXCHANGE_RACE_CHECK, {}, {MHCJIT_EXCHANGE_KERNEL}},
      backward_one_pass_program(),
      {"ring", MHCJIT_RING_RACE_CHECK, {}, {MHCJIT_RING_KERNEL}}};
}

// What to delete, each by itself.
std::vector<Place> places_to_delete(const Program& program) {
  std::vector<Place> places = places_in(program.kernels);
  std::erase_if(places, [&](const Place& place) {
    return std::ranges::any_of(program.unseen, [&](const Unseen& unseen) { return unseen.contains(place); });
  });
  const char* const wanted = std::getenv("MHCJIT_RACE_DELETE");
  if (program.deleted == Deleted::each || (wanted != nullptr && std::string_view(wanted) == "all")) return places;
  std::ranges::stable_sort(places, {}, &Place::kind);
  const auto others = std::ranges::unique(places, {}, &Place::kind);
  places.erase(others.begin(), others.end());
  return places;
}

void expect_seen(const Program& program, const std::vector<std::string>& deleted) {
  std::vector<std::string> arguments = {"--delete"};
  arguments.insert(arguments.end(), deleted.begin(), deleted.end());
  // To name the lines of a race takes longer than to find it.
  const Finished finished = run(program, arguments, "symbolize=0");
  if (finished.exit_code == race_exit_code)
    EXPECT_NE(finished.output.find("data race"), std::string::npos) << finished.output;
  else
    EXPECT_EQ(finished.exit_code, fault_exit_code) << finished.output;
}

class Race : public ::testing::TestWithParam<Program> {};

TEST_P(Race, NoneInTheKernels) {
  const Finished finished = run(GetParam(), {}, "");
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
  // So that the next test deletes every one there is.
  EXPECT_EQ(lines_of(finished.output), names_of(places_in(GetParam().kernels)));
}

TEST_P(Race, SeenWhenAnyBarrierWaitOrArrivalIsDeleted) {
  for (const Place& place : places_to_delete(GetParam())) {
    SCOPED_TRACE(place.name + " in " + place.function + ": " + place.call);
    expect_seen(GetParam(), {place.name});
  }
}

TEST_P(Race, UnseenPlacesAreInTheKernels) {
  const std::vector<Place> places = places_in(GetParam().kernels);
  for (const Unseen& unseen : GetParam().unseen)
    EXPECT_TRUE(std::ranges::any_of(places, [&](const Place& place) { return unseen.contains(place); }))
        << unseen.function << ": " << unseen.call;
}

INSTANTIATE_TEST_SUITE_P(, Race, ::testing::ValuesIn(programs()),
                         [](const auto& info) { return std::string(info.param.name); });

// A relaxed store does not order what is written before it.
TEST(ExchangeRace, SeenWhenValuesStandApartFromTheWordsThatAnnounceThem) {
  const Finished finished = mhcjit::test::run_under_thread_sanitizer(MHCJIT_EXCHANGE_RACE_CHECK, {"--torn"});
  EXPECT_EQ(finished.exit_code, race_exit_code) << finished.output;
}

TEST(ExchangeRace, SeenWhenBlocksWaitForOthersThatDoNotRun) {
  const Finished finished = mhcjit::test::run_under_thread_sanitizer(MHCJIT_EXCHANGE_RACE_CHECK, {"--alone"});
  EXPECT_EQ(finished.exit_code, fault_exit_code) << finished.output;
  EXPECT_NE(finished.output.find("looks again and again at sim/exchange_kernel.cuh:"), std::string::npos)
      << finished.output;
}

// Where stages of phi are used again, the barrier before that could order copies that nobody waited for, too.
TEST(FewTokensRace, SeenWhenCopiesThatHaveStagesOfTheirOwnAreNotWaitedFor) {
  Program program = few_tokens_program();
  program.arguments = {"n4_d64_bf16_gamma_f2_k1", "13"};
  const std::vector<Place> places = places_in(program.kernels);
  const Unseen copies = {"multiply_few_tokens", "copy_wait<Plan::stages - 1>()"};
  const auto wait = std::ranges::find_if(places, [&](const Place& place) { return copies.contains(place); });
  ASSERT_NE(wait, places.end());
  expect_seen(program, {wait->name});
}

// Up to eight tokens are worked on by functions of their own, with the same barriers.
TEST(FewTokensRace, NoneWithEightTokens) {
  Program program = few_tokens_program();
  program.arguments = {"n4_d64_bf16_gamma_f2_k1", "8"};
  const Finished finished = run(program, {}, "");
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
}

// So are tokens whose sums are added as in one pass.
TEST(FewTokensRace, NoneInTheOrderOfOnePass) {
  Program program = few_tokens_program();
  program.arguments = {"n3_d128_bf16_gamma_f2_p64_g2_s2", "13"};
  const Finished finished = run(program, {}, "");
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
}

// Row groups meet at the barriers that one group meets at, so that nothing is deleted for them.
TEST(OnePassRace, NoneWithRowGroups) {
  Program program = one_pass_program();
  program.arguments = {"n7_d64_bf16_gamma_c2_t16_p32_g2_s2", "35"};
  const Finished finished = run(program, {}, "");
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
}

// So do those that multiply x in fp32.
TEST(OnePassRace, NoneWithFp32) {
  Program program = one_pass_program();
  program.arguments = {"n2_d100_fp32_c2_t8_s3", "67"};
  const Finished finished = run(program, {}, "");
  EXPECT_EQ(finished.exit_code, 0) << finished.output;
}

TEST(OnePassRace, SeenWhenNoRoleWaitsForTheOtherBlocks) {
  const Program program = one_pass_program();
  std::vector<std::string> deleted;
  for (const Place& place : places_in(program.kernels))
    if (std::ranges::any_of(waits_for_blocks, [&](const Unseen& wait) { return wait.contains(place); }))
      deleted.push_back(place.name);
  ASSERT_EQ(deleted.size(), waits_for_blocks.size());
  expect_seen(program, deleted);
}

}  // namespace
