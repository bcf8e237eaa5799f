#include "codegen/tuned_record.h"

#include <array>
#include <cmath>
#include <functional>
#include <optional>
#include <set>

#include <llvm/ADT/STLExtras.h>
#include <llvm/Support/JSON.h>
#include <llvm/Support/raw_ostream.h>

#include "codegen/operators.h"
#include "support/error.h"
#include "support/strict_json.h"

namespace mhcjit::codegen {
namespace {

using llvm::json::Object;
using llvm::json::OStream;
using llvm::json::Value;

constexpr std::int64_t schema = 1;
// Line, choice, list, row.
constexpr std::size_t max_depth = 4;

constexpr std::array<std::string_view, 7> outcome_names = {"measured", "wrong", "compile_failed", "spills",
                                                           "faulted",  "hung",  "not_run"};

std::optional<Outcome> parse_outcome(std::string_view text) {
  for (std::size_t i = 0; i < outcome_names.size(); ++i)
    if (outcome_names[i] == text) return static_cast<Outcome>(i);
  return std::nullopt;
}

// The members of an object, read one by one; each must be there, and no other. The first fault stays.
class Fields {
 public:
  Fields(const Value& value, std::string& fault) : object_(value.getAsObject()), fault_(fault) {
    if (object_ == nullptr) fail("an object is expected");
  }
  Fields(const Fields&) = delete;
  Fields& operator=(const Fields&) = delete;

  void fail(std::string text) {
    if (fault_.empty()) fault_ = std::move(text);
  }

  // To be called when all members have been read. No destructor does it, since a text may find no memory.
  void end() {
    if (object_ == nullptr) return;
    for (const auto& [name, value] : *object_)
      if (!known_.contains(llvm::StringRef(name))) fail(fmt::format("there is no member {}", quoted(name)));
  }

  const Value* find(std::string_view name) {
    known_.insert(name);
    const Value* value = object_ == nullptr ? nullptr : object_->get(name);
    if (value == nullptr) fail(fmt::format("{} is missing", name));
    return value;
  }

  std::string text(std::string_view name) {
    const auto got = get<llvm::StringRef>(name, [](const Value& value) { return value.getAsString(); }, "a string");
    return got.str();
  }
  std::int64_t integer(std::string_view name, std::int64_t least, std::int64_t most) {
    return get<std::int64_t>(
        name,
        [&](const Value& value) {
          const auto number = value.getAsInteger();
          return number && *number >= least && *number <= most ? number : std::nullopt;
        },
        fmt::format("an integer of {} to {}", least, most));
  }
  double number(std::string_view name) {
    return get<double>(
        name,
        [](const Value& value) {
          const auto number = value.getAsNumber();
          return number && std::isfinite(*number) ? number : std::nullopt;
        },
        "a finite number");
  }
  bool flag(std::string_view name) {
    return get<bool>(name, [](const Value& value) { return value.getAsBoolean(); }, "true or false");
  }
  // A name that `parse` takes.
  template <typename T>
  T named(std::string_view name, llvm::Expected<T> (*parse)(std::string_view)) {
    auto parsed = parse(text(name));
    if (parsed) return *parsed;
    fail(take_failure(parsed.takeError()).text);
    return {};
  }
  template <typename Item>
  std::vector<Item> list(std::string_view name, Item (*parse)(Fields&)) {
    std::vector<Item> items;
    const Value* value = find(name);
    if (value == nullptr) return items;
    const llvm::json::Array* array = value->getAsArray();
    if (array == nullptr) {
      fail(fmt::format("{} is not a list", name));
      return items;
    }
    for (const Value& item : *array) {
      Fields fields(item, fault_);
      items.push_back(parse(fields));
      fields.end();
    }
    return items;
  }

 private:
  template <typename T, typename Get>
  T get(std::string_view name, const Get& get, const std::string& allowed) {
    const Value* value = find(name);
    if (value == nullptr) return {};
    if (const std::optional<T> got = get(*value)) return *got;
    fail(fmt::format("{} is not {}", name, allowed));
    return {};
  }

  const Object* object_;
  std::string& fault_;
  std::set<std::string_view> known_;
};

Problem problem_of(Fields& fields, const Architecture& architecture) {
  Problem problem;
  problem.op = fields.named("op", parse_operator);
  problem.n = static_cast<int>(fields.integer("n", 1, max_n));
  problem.d = fields.integer("d", 1, max_d);
  problem.dtype = fields.named("dtype", parse_dtype);
  problem.has_gamma = fields.flag("gamma");
  problem.batch_invariant = fields.flag("batch_invariant");
  problem.has_fp32_dx = fields.flag("fp32_dx");
  problem.architecture = architecture;
  if (problem.op == nullptr) return problem;
  if (auto error = check(problem)) fields.fail(take_failure(std::move(error)).text);
  return problem;
}

RecordHeader header_of(Fields& fields) {
  RecordHeader header;
  fields.integer("mhcjit_tune", schema, schema);
  header.version = fields.text("version");
  header.space = fields.text("space");
  if (const Value* device = fields.find("device")) {
    std::string fault;
    Fields of_device(*device, fault);
    header.device = of_device.text("name");
    header.architecture = of_device.named("architecture", parse_architecture);
    header.multiprocessors = static_cast<int>(of_device.integer("multiprocessors", 1, 1 << 20));
    of_device.end();
    if (!fault.empty()) fields.fail("device: " + fault);
  }
  header.driver = fields.text("driver");
  header.nvrtc = fields.text("nvrtc");
  header.copy_gigabytes_per_second = fields.number("copy_gigabytes_per_second");
  header.created = fields.text("created");
  return header;
}

Trial trial_of(Fields& fields, const Architecture& architecture) {
  Trial trial;
  trial.problem = problem_of(fields, architecture);
  trial.tokens = fields.integer("t", 1, max_tokens);
  trial.plan = fields.text("plan");
  const std::string outcome = fields.text("outcome");
  if (const auto known = parse_outcome(outcome))
    trial.outcome = *known;
  else
    fields.fail(fmt::format("outcome is {}, allowed: {}", quoted(outcome), fmt::join(outcome_names, ", ")));
  trial.us = fields.number("us");
  trial.spread_us = fields.number("spread_us");
  trial.samples = static_cast<int>(fields.integer("samples", 0, INT32_MAX));
  trial.floor_ratio = fields.number("floor_ratio");
  trial.sm_mhz = static_cast<int>(fields.integer("sm_mhz", 0, INT32_MAX));
  trial.reason = fields.text("reason");
  return trial;
}

TunedBucket bucket_of(Fields& fields) { return {fields.integer("max_t", 1, max_tokens), fields.text("plan")}; }

TunedRow row_of(Fields& fields) {
  TunedRow row;
  row.tokens = fields.integer("t", 1, max_tokens);
  row.plan = fields.text("plan");
  row.us = fields.number("us");
  row.spread_us = fields.number("spread_us");
  row.present_plan = fields.text("present_plan");
  row.present_us = fields.number("present_us");
  row.present_spread_us = fields.number("present_spread_us");
  row.gain = fields.number("gain");
  return row;
}

// "" or what is wrong with them.
std::string fault_of(const TunedChoice& choice) {
  std::int64_t last = 0;
  std::set<std::string_view> plans;
  for (const TunedBucket& bucket : choice.buckets) {
    if (bucket.max_tokens <= last) return "max_t does not rise";
    last = bucket.max_tokens;
    plans.insert(bucket.plan);
  }
  if (last != max_tokens) return fmt::format("the last max_t is {}, allowed: {}", last, max_tokens);
  if (plans.size() > max_plans) return fmt::format("{} plans, allowed: {}", plans.size(), max_plans);
  return "";
}

TunedChoice choice_of(Fields& fields, const Architecture& architecture) {
  TunedChoice choice;
  choice.problem = problem_of(fields, architecture);
  choice.buckets = fields.list<TunedBucket>("buckets", bucket_of);
  choice.rows = fields.list<TunedRow>("rows", row_of);
  if (std::string fault = fault_of(choice); !fault.empty()) fields.fail("buckets: " + fault);
  return choice;
}

// Reads an object with `parse`.
template <typename Parse>
auto parse_object(const std::string& where, const Value& value, const Parse& parse)
    -> llvm::Expected<decltype(parse(std::declval<Fields&>()))> {
  std::string fault;
  Fields fields(value, fault);
  auto parsed = parse(fields);
  fields.end();
  if (fault.empty()) return parsed;
  return make_error(MHCJIT_ERROR_BAD_FILE, "{}: {}", where, fault);
}

llvm::Expected<RecordHeader> parse_header(const std::string& where, llvm::StringRef line) {
  llvm::Expected<Value> value = parse_strict_json(where, line, max_depth);
  if (!value) return value.takeError();
  return parse_object(where + ", which is to be the header of a tuned record", *value, header_of);
}

void add_choice(TunedRecord& record, TunedChoice choice) {
  const auto former =
      llvm::find_if(record.choices, [&](const TunedChoice& known) { return known.problem == choice.problem; });
  if (former == record.choices.end())
    record.choices.push_back(std::move(choice));
  else
    *former = std::move(choice);
}

llvm::Error add_line(TunedRecord& record, const std::string& where, const Value& value) {
  const Architecture& architecture = record.header.architecture;
  const Object* line = value.getAsObject();
  const bool is_single = line != nullptr && line->size() == 1;
  if (const Value* trial = is_single ? line->get("trial") : nullptr) {
    auto parsed = parse_object(where, *trial, [&](Fields& fields) { return trial_of(fields, architecture); });
    if (!parsed) return parsed.takeError();
    record.trials.push_back(std::move(*parsed));
  } else if (const Value* choice = is_single ? line->get("choice") : nullptr) {
    auto parsed = parse_object(where, *choice, [&](Fields& fields) { return choice_of(fields, architecture); });
    if (!parsed) return parsed.takeError();
    add_choice(record, std::move(*parsed));
  } else {
    return make_error(MHCJIT_ERROR_BAD_FILE, "{}: neither a trial nor a choice", where);
  }
  return llvm::Error::success();
}

// With as few digits as give the same number again; finite.
void write_number(OStream& json, llvm::StringRef name, double number) {
  json.attributeBegin(name);
  json.rawValue(fmt::format("{}", number));
  json.attributeEnd();
}

void write_problem(OStream& json, const Problem& problem) {
  json.attribute("op", llvm::StringRef(problem.op->name));
  json.attribute("n", problem.n);
  json.attribute("d", problem.d);
  json.attribute("dtype", llvm::StringRef(to_string(problem.dtype)));
  json.attribute("gamma", problem.has_gamma);
  json.attribute("batch_invariant", problem.batch_invariant);
  json.attribute("fp32_dx", problem.has_fp32_dx);
}

// A line, whose members `write` writes.
std::string line_of(llvm::function_ref<void(OStream&)> write) {
  std::string line;
  llvm::raw_string_ostream text(line);
  OStream json(text);
  json.object([&] { write(json); });
  text << '\n';
  return line;
}

}  // namespace

std::string_view to_string(Outcome outcome) { return outcome_names[static_cast<std::size_t>(outcome)]; }

llvm::Expected<TunedRecord> parse_record(llvm::StringRef file, llvm::StringRef text, Trials trials) {
  const auto where = [&](std::size_t number) { return fmt::format("{}: line {}", file.str(), number); };
  const auto [first, others] = text.split('\n');
  if (first.size() == text.size())
    return make_error(MHCJIT_ERROR_BAD_FILE,
                      "{} has no whole line, allowed: a tuned record, which begins with its header", file.str());
  auto header = parse_header(where(1), first);
  if (!header) return header.takeError();
  TunedRecord record = {std::move(*header), {}, {}, first.size() + 1};
  for (std::size_t number = 2; record.whole_bytes < text.size(); ++number) {
    const auto [line, rest] = text.substr(record.whole_bytes).split('\n');
    const bool is_last = rest.empty();
    // Without its newline a line may be an object and yet not what was to be written.
    if (is_last && !text.ends_with("\n")) break;
    if (trials == Trials::read || !line.starts_with(R"({"trial":)")) {
      llvm::Expected<Value> value = parse_strict_json(where(number), line, max_depth);
      if (!value && !is_last) return value.takeError();
      if (!value) {
        llvm::consumeError(value.takeError());
        break;
      }
      if (auto error = add_line(record, where(number), *value)) return error;
    }
    record.whole_bytes += line.size() + 1;
  }
  return record;
}

std::string to_line(const RecordHeader& header) {
  return line_of([&](OStream& json) {
    json.attribute("mhcjit_tune", schema);
    json.attribute("version", header.version);
    json.attribute("space", header.space);
    json.attributeObject("device", [&] {
      json.attribute("name", header.device);
      json.attribute("architecture", to_string(header.architecture));
      json.attribute("multiprocessors", header.multiprocessors);
    });
    json.attribute("driver", header.driver);
    json.attribute("nvrtc", header.nvrtc);
    write_number(json, "copy_gigabytes_per_second", header.copy_gigabytes_per_second);
    json.attribute("created", header.created);
  });
}

std::string to_line(const Trial& trial) {
  return line_of([&](OStream& json) {
    json.attributeObject("trial", [&] {
      write_problem(json, trial.problem);
      json.attribute("t", trial.tokens);
      json.attribute("plan", trial.plan);
      json.attribute("outcome", llvm::StringRef(to_string(trial.outcome)));
      write_number(json, "us", trial.us);
      write_number(json, "spread_us", trial.spread_us);
      json.attribute("samples", trial.samples);
      write_number(json, "floor_ratio", trial.floor_ratio);
      json.attribute("sm_mhz", trial.sm_mhz);
      json.attribute("reason", llvm::json::fixUTF8(trial.reason));
    });
  });
}

std::string to_line(const TunedChoice& choice) {
  return line_of([&](OStream& json) {
    json.attributeObject("choice", [&] {
      write_problem(json, choice.problem);
      json.attributeArray("buckets", [&] {
        for (const TunedBucket& bucket : choice.buckets)
          json.object([&] {
            json.attribute("max_t", bucket.max_tokens);
            json.attribute("plan", bucket.plan);
          });
      });
      json.attributeArray("rows", [&] {
        for (const TunedRow& row : choice.rows)
          json.object([&] {
            json.attribute("t", row.tokens);
            json.attribute("plan", row.plan);
            write_number(json, "us", row.us);
            write_number(json, "spread_us", row.spread_us);
            json.attribute("present_plan", row.present_plan);
            write_number(json, "present_us", row.present_us);
            write_number(json, "present_spread_us", row.present_spread_us);
            write_number(json, "gain", row.gain);
          });
      });
    });
  });
}

}  // namespace mhcjit::codegen
