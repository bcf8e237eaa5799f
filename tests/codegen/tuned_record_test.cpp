// The text of a tuned record: what is written is read back, a line that was cut short is passed over, and any other
// damage is refused with its place.
#include "codegen/tuned_record.h"

#include "codegen/embedded.h"
#include "codegen/shipped_record.h"
#include "tests/codegen/problems.h"
#include "tests/codegen/tuned_records.h"

namespace mhcjit::codegen {
namespace {

const Problem forward = forward_of(4, 4096);
const Problem backward = {&pre_backward, 6, 2560, DType::fp16, false, true, hopper, true};

const Trial good = {forward, 64, "one_pass cluster_size=16", Outcome::measured, 9.3125, 0.05, 40, 2.1, 1980};
const Trial bad = {backward, 8192, "portable", Outcome::faulted, 0, 0, 0, 0, 0, "a \"reason\",\n\\ of two lines"};
const TunedChoice of_forward = {
    forward,
    {{16, "few_tokens"}, {max_tokens, "one_pass"}},
    {{1, "few_tokens", 5.1, 0.04, "one_pass", 5.4, 0.05, 0.0556}, {8192, "one_pass", 99, 1, "one_pass", 99, 1, 0}}};
const TunedChoice of_backward = {backward, {{max_tokens, "portable"}}, {}};

TunedRecord whole() { return {made_up_header(), {good, bad}, {of_forward, of_backward}}; }

TunedRecord read(std::string_view text, Trials trials = Trials::read) {
  return llvm::cantFail(parse_record("tuned.jsonl", text, trials));
}

std::string fault(std::string_view text) {
  auto record = parse_record("tuned.jsonl", text);
  if (record) return "accepted";
  const Failure failure = take_failure(record.takeError());
  EXPECT_EQ(failure.status, MHCJIT_ERROR_BAD_FILE);
  return failure.text;
}

TEST(TunedRecord, IsReadAsItWasWritten) {
  const std::string text = text_of(whole());
  const TunedRecord record = read(text);
  EXPECT_EQ(record.header, made_up_header());
  EXPECT_EQ(record.trials, (std::vector{good, bad}));
  EXPECT_EQ(record.choices, (std::vector{of_forward, of_backward}));
  EXPECT_EQ(record.whole_bytes, text.size());
}

// Other programs read and write it too.
TEST(TunedRecord, HasThisForm) {
  EXPECT_EQ(to_line(made_up_header()),
            R"({"mhcjit_tune":1,"version":"0.1.0","space":"ab12","device":{"name":"Made-up GPU",)"
            R"("architecture":"sm_90a","multiprocessors":100},"driver":"13.0","nvrtc":"12.9",)"
            R"("copy_gigabytes_per_second":4236.5,"created":"2026-11-30T20:00:00Z"})"
            "\n");
  EXPECT_EQ(to_line(good), R"({"trial":{"op":"pre_forward","n":4,"d":4096,"dtype":"bf16","gamma":true,)"
                           R"("batch_invariant":false,"fp32_dx":false,"t":64,"plan":"one_pass cluster_size=16",)"
                           R"("outcome":"measured","us":9.3125,"spread_us":0.05,"samples":40,"floor_ratio":2.1,)"
                           R"("sm_mhz":1980,"reason":""}})"
                           "\n");
  EXPECT_EQ(to_line(of_backward), R"({"choice":{"op":"pre_backward","n":6,"d":2560,"dtype":"fp16","gamma":false,)"
                                  R"("batch_invariant":true,"fp32_dx":true,)"
                                  R"("buckets":[{"max_t":2147483647,"plan":"portable"}],"rows":[]}})"
                                  "\n");
}

TEST(TunedRecord, CutAtEveryByteKeepsTheWholeLines) {
  const std::string text = text_of(whole());
  const std::size_t header = to_line(made_up_header()).size();
  for (std::size_t bytes = header; bytes <= text.size(); ++bytes) {
    const TunedRecord record = read(text.substr(0, bytes));
    ASSERT_EQ(record.whole_bytes, text.rfind('\n', bytes - 1) + 1) << bytes;
    const auto lines = std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(bytes), '\n');
    ASSERT_EQ(1 + record.trials.size() + record.choices.size(), static_cast<std::size_t>(lines)) << bytes;
  }
  for (std::size_t bytes = 0; bytes < header; ++bytes)
    ASSERT_EQ(fault(text.substr(0, bytes)),
              "tuned.jsonl has no whole line, allowed: a tuned record, which begins with its header");
}

// As a file system may leave it: with a newline, and yet no JSON.
TEST(TunedRecord, ALastLineThatIsNoJsonIsPassedOver) {
  const std::string text = text_of(whole());
  const TunedRecord record = read(text + "{\"trial\":{\"op\n");
  EXPECT_EQ(record.whole_bytes, text.size());
  EXPECT_EQ(record.trials.size(), 2u);
}

TEST(TunedRecord, TheLastChoiceOfAProblemIsTheOneThatHolds) {
  TunedChoice later = of_forward;
  later.buckets = {{max_tokens, "two_pass"}};
  const TunedRecord record = read(text_of(whole()) + to_line(later));
  EXPECT_EQ(record.choices, (std::vector{later, of_backward}));
}

TEST(TunedRecord, TrialsCanBePassedOver) {
  const std::string text = text_of(whole());
  const TunedRecord record = read(text, Trials::passed_over);
  EXPECT_TRUE(record.trials.empty());
  EXPECT_EQ(record.choices, (std::vector{of_forward, of_backward}));
  EXPECT_EQ(record.whole_bytes, text.size());
}

std::string replaced(std::string text, const std::string& part, const std::string& by) {
  const std::size_t at = text.find(part);
  EXPECT_NE(at, text.npos) << part;
  return text.replace(at, part.size(), by);
}

TEST(TunedRecord, RefusesWhatItDoesNotUnderstandWithItsLine) {
  const std::string header = to_line(made_up_header()), trial = to_line(good), choice = to_line(of_forward);
  const auto of_header = [&](const std::string& part, const std::string& by) {
    return fault(replaced(header, part, by) + trial);
  };
  const auto of_trial = [&](const std::string& part, const std::string& by) {
    return fault(header + trial + replaced(trial, part, by) + trial);
  };
  const auto of_choice = [&](const std::string& part, const std::string& by) {
    return fault(header + replaced(choice, part, by));
  };
  const std::string first = "tuned.jsonl: line 1, which is to be the header of a tuned record: ";
  const std::string second = "tuned.jsonl: line 2: ", third = "tuned.jsonl: line 3: ";
  EXPECT_EQ(fault(trial), first + "mhcjit_tune is missing");
  EXPECT_EQ(of_header(":1,", ":2,"), first + "mhcjit_tune is not an integer of 1 to 1");
  EXPECT_EQ(of_header("100", "0"), first + "device: multiprocessors is not an integer of 1 to 1048576");
  EXPECT_TRUE(llvm::StringRef(of_header("sm_90a", "gfx90a")).starts_with(first + "device: architecture is 'gfx90a'"));
  EXPECT_EQ(of_header("{\"mhcjit", "[{\"mhcjit").find("tuned.jsonl: line 1 is not JSON"), 0u);
  EXPECT_EQ(of_trial("\"us\"", "\"ms\""), third + "us is missing");
  EXPECT_EQ(of_trial("\"us\":", "\"ms\":1,\"us\":"), third + "there is no member 'ms'");
  EXPECT_EQ(of_trial("9.3125", "1e999"), third + "us is not a finite number");
  EXPECT_EQ(of_trial("measured", "great"),
            third + "outcome is 'great', allowed: measured, wrong, compile_failed, spills, faulted, hung, not_run");
  EXPECT_EQ(of_trial("\"t\":64", "\"t\":0"), third + "t is not an integer of 1 to 2147483647");
  EXPECT_EQ(of_trial("pre_forward", "post"), third + "op is 'post', allowed: pre_forward, pre_backward");
  EXPECT_EQ(of_trial("fp32_dx\":false", "fp32_dx\":true"),
            third + "fp32_dx is 1, allowed: 0 for pre_forward, which has no dx");
  EXPECT_EQ(of_trial("\"trial\"", "\"trail\""), third + "neither a trial nor a choice");
  EXPECT_EQ(of_trial("{\"trial\"", "{\"choice\":1,\"trial\""), third + "neither a trial nor a choice");
  EXPECT_EQ(of_trial("{\"trial\"", "{\"trial\":1,\"trial\""),
            "tuned.jsonl: line 3 has the name 'trial' twice, allowed: once");
  EXPECT_EQ(of_choice("16,", "2147483647,"), second + "buckets: max_t does not rise");
  EXPECT_EQ(of_choice("2147483647,", "2147483646,"),
            second + "buckets: the last max_t is 2147483646, allowed: 2147483647");
  EXPECT_EQ(of_choice("[{\"max_t\":16,", "[{\"max_t\":1,\"plan\":\"a\"},{\"max_t\":2,\"plan\":\"b\"},{\"max_t\":16,"),
            second + "buckets: 4 plans, allowed: 3");
}

TEST(ShippedRecord, EveryEmbeddedRecordIsOneWhoseRowsServe) {
  ASSERT_FALSE(embedded_records().empty());
  for (const EmbeddedRecord& embedded : embedded_records()) {
    const TunedRecord record = llvm::cantFail(parse_record(embedded.name, embedded.text));
    EXPECT_EQ(embedded.name, to_string(record.header.architecture) + ".jsonl");
    EXPECT_TRUE(record.trials.empty()) << embedded.name << ": trials do not belong into the library";
    EXPECT_EQ(record.whole_bytes, embedded.text.size());
    const TunedRecordPtr shipped = shipped_record(record.header.architecture);
    ASSERT_NE(shipped, nullptr);
    EXPECT_EQ(shipped->choices, record.choices);
    for (const TunedChoice& choice : record.choices) {
      const std::vector<Bucket> buckets = llvm::cantFail(choose(choice.problem, {.tuned = {.shipped = shipped}}));
      EXPECT_EQ(buckets.front().origin.source, Source::shipped)
          << to_string(choice.problem) << ": " << buckets.front().origin.refused;
      EXPECT_EQ(buckets.front().origin.d, choice.problem.d);
    }
  }
}

TEST(ShippedRecord, ThereIsNoneForOtherArchitectures) { EXPECT_EQ(shipped_record({7, 5, 0}), nullptr); }

}  // namespace
}  // namespace mhcjit::codegen
