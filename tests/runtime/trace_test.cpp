// Each event on a kernel's way is one line with the same fields in the same order: what a scripted sequence of calls
// says, with nothing missing and nothing twice. Without the level, none of it is said.
#include <algorithm>
#include <map>
#include <mutex>
#include <regex>
#include <set>

#include "tests/runtime/fake_gpu.h"

namespace mhcjit::test {
namespace {

struct Event {
  std::string event, problem, digest, tier, ms;
};

class TraceTest : public FakeGpuTest {
 protected:
  // With the plan of one kernel where not asked otherwise, whose events have one order.
  EnginePtr traced(mhcjit_log_level level = MHCJIT_LOG_TRACE, const std::string& read_only = "", bool strict = false,
                   const char* plan = plan_of_one_kernel) {
    mhcjit_engine_options chosen = options();
    chosen.plan = plan;
    chosen.log_level = level;
    chosen.log = [](mhcjit_log_level level, const char* line, void* user) {
      static std::mutex mutex;  // kernels are compiled by several threads
      const std::lock_guard lock(mutex);
      if (level == MHCJIT_LOG_TRACE) static_cast<std::vector<std::string>*>(user)->emplace_back(line);
    };
    chosen.log_user = &lines;
    chosen.read_only_cache_dirs = read_only.c_str();
    chosen.no_compile = strict ? 1 : 0;
    mhcjit_engine* engine = nullptr;
    EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
    return EnginePtr(engine);
  }

  // Takes the lines so far; each must have exactly the documented form.
  std::vector<Event> events() {
    static const std::regex form(
        R"re(event=([a-z_]+) problem="([^"]+)" digest=([0-9a-f]{64}|-) tier=([a-z_]+|-) ms=([0-9]+\.[0-9]{3}|-))re");
    std::vector<Event> events;
    for (const std::string& line : std::exchange(lines, {})) {
      std::smatch part;
      if (!std::regex_match(line, part, form)) {
        ADD_FAILURE() << "not the documented form: " << line;
        continue;
      }
      events.push_back({part[1], part[2], part[3], part[4], part[5]});
    }
    return events;
  }

  // "event/tier" of each.
  static std::vector<std::string> steps(const std::vector<Event>& events) {
    std::vector<std::string> steps;
    steps.reserve(events.size());
    for (const Event& event : events) steps.push_back(event.event + "/" + event.tier);
    return steps;
  }

  using Steps = std::vector<std::string>;
  std::vector<std::string> lines;
};

TEST_F(TraceTest, AColdPrepareThenEachKindOfHit) {
  const EnginePtr engine = traced();
  prepare(engine, forward_problem);
  const std::vector<Event> cold = events();
  EXPECT_EQ(steps(cold), (Steps{"lookup/-", "miss/-", "compile/-", "publish/disk", "load/-"}));
  for (const Event& event : cold) {
    EXPECT_EQ(event.problem, "pre_forward n=4 D=256 bf16 gamma sm_90a") << event.event;
    EXPECT_EQ(event.digest, cold[0].digest) << event.event;
    EXPECT_NE(event.digest, "-");
    EXPECT_EQ(event.ms == "-", event.event == "lookup") << event.event;
  }

  prepare(engine, forward_problem);
  const std::vector<Event> ready = events();
  EXPECT_EQ(steps(ready), (Steps{"hit/memory"}));
  EXPECT_EQ(ready[0].problem, cold[0].problem);
  EXPECT_EQ(mhcjit_compile(engine.get(), &forward_problem, "sm_90a", nullptr), MHCJIT_SUCCESS);
  const std::vector<Event> compiled = events();
  EXPECT_EQ(steps(compiled), (Steps{"hit/memory"}));
  EXPECT_EQ(compiled[0].digest, cold[0].digest);

  const EnginePtr next = traced();
  prepare(next, forward_problem);
  const std::vector<Event> warm = events();
  EXPECT_EQ(steps(warm), (Steps{"lookup/-", "hit/disk", "load/-"}));
  EXPECT_EQ(warm[1].digest, cold[0].digest);
  EXPECT_NE(warm[1].ms, "-");
}

// Each kernel has lines of its own.
TEST_F(TraceTest, SeveralKernelsOfAProblem) {
  const EnginePtr engine = traced(MHCJIT_LOG_TRACE, "", /*strict=*/false, "");
  prepare(engine, backward_problem);
  std::map<std::string, Steps> of_kernel;
  for (const Event& event : events()) of_kernel[event.digest].push_back(event.event + "/" + event.tier);
  EXPECT_EQ(of_kernel.size(), kernels_of(backward_problem).size() + 1);
  int loads = 0;
  for (const auto& [digest, steps] : of_kernel) {
    if (steps == Steps{"load/-"}) {  // of all together
      ++loads;
      continue;
    }
    EXPECT_EQ(steps, (Steps{"lookup/-", "miss/-", "compile/-", "publish/disk"})) << digest;
  }
  EXPECT_EQ(loads, 1);

  // A problem that shares some of them.
  mhcjit_problem plain = backward_problem;
  plain.has_gamma = 0;
  const std::set<std::string> known = units_of(backward_problem), asked = units_of(plain);
  const auto shared = std::ranges::count_if(asked, [&](const std::string& unit) { return known.contains(unit); });
  const auto others = std::ssize(asked) - shared;
  ASSERT_GT(shared, 0);
  ASSERT_GT(others, 0);
  prepare(engine, plain);
  const Steps said = steps(events());
  EXPECT_EQ(std::ranges::count(said, "hit/memory"), shared);
  EXPECT_EQ(std::ranges::count(said, "compile/-"), others);
}

TEST_F(TraceTest, AnImagesKernelIsPromoted) {
  const std::string image = cache_dir;
  prepare(traced(), forward_problem);
  events();
  cache_dir = folder / "own";
  prepare(traced(MHCJIT_LOG_TRACE, image), forward_problem);
  EXPECT_EQ(steps(events()), (Steps{"lookup/-", "hit/read_only", "promote/disk", "load/-"}));
}

TEST_F(TraceTest, ABadEntryIsCorruptAndCompiledAgain) {
  prepare(traced(), forward_problem);
  const std::string digest = events()[0].digest;
  const std::string path = cache_dir + "/" + digest + ".mhcjit";
  std::string bytes = read_file(path);
  bytes[bytes.size() / 2] ^= 1;
  write_file(path, bytes);
  prepare(traced(), forward_problem);
  const std::vector<Event> seen = events();
  EXPECT_EQ(steps(seen), (Steps{"lookup/-", "corrupt/disk", "miss/-", "compile/-", "publish/disk", "load/-"}));
  EXPECT_EQ(seen[1].digest, digest);
  EXPECT_EQ(seen[1].problem, "-");
}

TEST_F(TraceTest, ARefusedMissIsAMissAndNoMore) {
  expect_failure(
      mhcjit_compile(traced(MHCJIT_LOG_TRACE, "", /*strict=*/true).get(), &forward_problem, "sm_90a", nullptr),
      MHCJIT_ERROR_NOT_IN_CACHE, {});
  EXPECT_EQ(steps(events()), (Steps{"lookup/-", "miss/-"}));
}

TEST_F(TraceTest, OtherLevelsSayNoneOfIt) {
  prepare(traced(MHCJIT_LOG_INFO), forward_problem);
  prepare(traced(MHCJIT_LOG_WARNING), forward_problem);
  EXPECT_EQ(lines, std::vector<std::string>{});
}

}  // namespace
}  // namespace mhcjit::test
