#include "tools/shapes.h"

#include <algorithm>
#include <set>

#include "codegen/operators.h"
#include "support/error.h"
#include "support/strict_json.h"
#include "tools/input_file.h"

namespace mhcjit::tools {
namespace {

using codegen::Problem;
using llvm::json::Value;

// Deepest legal nesting: list, shape, list of values.
constexpr std::size_t max_depth = 3;
constexpr std::uint64_t max_file_bytes = std::uint64_t{64} << 20;
// As many entries as a cache folder keeps by default.
constexpr std::size_t max_problems = 100'000;

llvm::Error bad_shape(llvm::StringRef where, std::string text) {
  return make_error(MHCJIT_ERROR_BAD_FILE, "{}: {}", where.str(), text);
}

std::string spelt(const Value& value) {
  if (const auto text = value.getAsString()) return quoted(*text);
  std::string text;
  llvm::raw_string_ostream(text) << value;
  if (text.size() > 80) text.replace(80, std::string::npos, "...");
  return text;
}

// One field's values: a parser of the JSON, which gives nothing for others, and the words for them.
template <typename T>
struct Rule {
  std::optional<T> (*parse)(const Value&);
  std::string allowed;
};

template <std::int64_t most>
std::optional<std::int64_t> integer_up_to(const Value& value) {
  const auto integer = value.getAsInteger();
  return integer && *integer >= 1 && *integer <= most ? integer : std::nullopt;
}

// A name that `parse_name` takes.
template <typename T, llvm::Expected<T> (*parse_name)(std::string_view)>
std::optional<T> name_of(const Value& value) {
  const auto text = value.getAsString();
  if (!text) return std::nullopt;
  llvm::Expected<T> parsed = parse_name(*text);
  if (parsed) return *parsed;
  llvm::consumeError(parsed.takeError());
  return std::nullopt;
}

const Rule<std::int64_t> n_rule = {integer_up_to<codegen::max_n>, "an integer of 1 to 16, or a list of them"};
const Rule<std::int64_t> d_rule = {integer_up_to<codegen::max_d>, "an integer of 1 to 16777216, or a list of them"};
const Rule<std::int64_t> t_rule = {integer_up_to<codegen::max_tokens>,
                                   "an integer of 1 to 2147483647, or a list of them"};
const Rule<codegen::DType> dtype_rule = {name_of<codegen::DType, codegen::parse_dtype>,
                                         "bf16, fp16, fp32, or a list of them"};
const Rule<const codegen::Operator*> ops_rule = {name_of<const codegen::Operator*, codegen::parse_operator>,
                                                 codegen::operator_names() + ", or a list of them"};

// One shape of the file, read field by field. The first fault stays.
class Shape {
 public:
  Shape(std::string where, const llvm::json::Object& object) : where_(std::move(where)), object_(object) {}

  // The field's value or values. A field that is absent has `otherwise`; where that is empty, the field is required.
  template <typename T>
  std::vector<T> values(llvm::StringRef field, const Rule<T>& rule, std::vector<T> otherwise = {}) {
    const Value* given = object_.get(field);
    if (given == nullptr && otherwise.empty()) fail(field.str() + " is missing, allowed: " + rule.allowed);
    if (given == nullptr) return otherwise;
    std::vector<T> parsed;
    const auto add = [&](const Value& value) {
      if (const std::optional<T> one = rule.parse(value)) return parsed.push_back(*one);
      fail(fmt::format("{} is {}, allowed: {}", field.str(), spelt(value), rule.allowed));
    };
    if (const llvm::json::Array* list = given->getAsArray()) {
      for (const Value& value : *list) add(value);
      if (list->empty()) fail(field.str() + " is [], allowed: " + rule.allowed);
    } else {
      add(*given);
    }
    return parsed;
  }

  bool flag(llvm::StringRef field) {
    const Value* given = object_.get(field);
    if (given == nullptr) return false;
    const auto parsed = given->getAsBoolean();
    if (!parsed) fail(fmt::format("{} is {}, allowed: true, false", field.str(), spelt(*given)));
    return parsed.value_or(false);
  }

  // A misspelt field would be a shape that nobody warms.
  void allow_only(std::initializer_list<llvm::StringRef> fields) {
    for (const auto& [name, value] : object_)
      if (std::find(fields.begin(), fields.end(), llvm::StringRef(name)) == fields.end())
        fail(fmt::format("{} is no field of a shape, allowed: {}", quoted(name), fmt::join(strings(fields), ", ")));
  }

  void fail(std::string text) {
    if (fault_.empty()) fault_ = std::move(text);
  }

  llvm::Error take_fault() const { return fault_.empty() ? llvm::Error::success() : bad_shape(where_, fault_); }

 private:
  static std::vector<std::string> strings(std::initializer_list<llvm::StringRef> fields) {
    return {fields.begin(), fields.end()};
  }

  const std::string where_;
  const llvm::json::Object& object_;
  std::string fault_;
};

enum class Tokens { passed_over, required };

struct Parsed {
  std::vector<SizedProblem> problems;
  std::vector<std::string> cut_lines;
};

bool has_fp32_dx(const codegen::Operator* op) { return op->has_dtype_flag(&Problem::has_fp32_dx); }

bool fp32_dx_of(Shape& shape, const std::vector<const codegen::Operator*>& ops) {
  const bool fp32_dx = shape.flag("fp32_dx");
  if (fp32_dx && std::ranges::none_of(ops, has_fp32_dx))
    shape.fail("fp32_dx is true, allowed: with " + codegen::operator_names(&Problem::has_fp32_dx));
  return fp32_dx;
}

class Problems {
 public:
  Problems(llvm::StringRef file, Tokens tokens) : file_(file.str()), tokens_(tokens) {}

  llvm::Error add_shape(const std::string& where, const Value& value) {
    const llvm::json::Object* object = value.getAsObject();
    if (object == nullptr) return bad_shape(where, "is " + spelt(value) + ", allowed: an object");
    Shape shape(where, *object);
    const auto ns = shape.values("n", n_rule);
    const auto ds = shape.values("d", d_rule);
    const auto dtypes = shape.values("dtype", dtype_rule);
    const auto ops = shape.values("ops", ops_rule, {codegen::operators().begin(), codegen::operators().end()});
    const bool gamma = shape.flag("gamma"), batch_invariant = shape.flag("batch_invariant");
    const bool fp32_dx = fp32_dx_of(shape, ops);
    auto ts = shape.values("t", t_rule, tokens_ == Tokens::required ? std::vector<std::int64_t>{} : no_tokens);
    if (tokens_ == Tokens::passed_over) ts = no_tokens;
    shape.allow_only({"n", "d", "t", "dtype", "gamma", "batch_invariant", "fp32_dx", "ops"});
    if (auto error = shape.take_fault()) return error;
    for (const auto n : ns)
      for (const auto d : ds)
        for (const auto dtype : dtypes)
          for (const auto op : ops)
            for (const auto t : ts)
              if (auto error = add(
                      {{op, static_cast<int>(n), d, dtype, gamma, batch_invariant, {}, fp32_dx && has_fp32_dx(op)}, t}))
                return error;
    return llvm::Error::success();
  }

  void add_cut_line(std::string where) { parsed_.cut_lines.push_back(std::move(where)); }

  llvm::Expected<Parsed> take() {
    if (parsed_.problems.empty()) return bad_shape(file_, "holds no shape, allowed: one or more");
    return std::move(parsed_);
  }

 private:
  llvm::Error add(const SizedProblem& problem) {
    if (!seen_.insert(problem).second) return llvm::Error::success();
    parsed_.problems.push_back(problem);
    if (parsed_.problems.size() <= max_problems) return llvm::Error::success();
    return bad_shape(file_, fmt::format("names more than {} problems, allowed: that many", max_problems));
  }

  static inline const std::vector<std::int64_t> no_tokens = {0};

  const std::string file_;
  const Tokens tokens_;
  Parsed parsed_;
  std::set<SizedProblem> seen_;
};

llvm::Error add_list(Problems& problems, llvm::StringRef file, const Value& value) {
  const llvm::json::Array* list = value.getAsArray();
  if (list == nullptr) return problems.add_shape(file.str(), value);
  std::size_t number = 0;
  for (const Value& shape : *list)
    if (auto error = problems.add_shape(fmt::format("{}: shape {}", file.str(), ++number), shape)) return error;
  return llvm::Error::success();
}

// The beginning of a line that a running program recorded: such a line has no blank, and no brace but at its ends.
bool is_cut_record(llvm::StringRef line) {
  constexpr llvm::StringLiteral start("{\"n\":");
  const bool starts = line.starts_with(start) || (!line.empty() && start.starts_with(line));
  return starts && line.find_first_of(" \t{}", 1) == llvm::StringRef::npos;
}

llvm::Error add_lines(Problems& problems, llvm::StringRef file, llvm::StringRef text) {
  for (std::size_t number = 1; !text.empty(); ++number) {
    const auto [line, rest] = text.split('\n');
    text = rest;
    if (line.trim().empty()) continue;
    const std::string where = fmt::format("{}: line {}", file.str(), number);
    if (is_cut_record(line.trim())) {
      problems.add_cut_line(where);
      continue;
    }
    llvm::Expected<Value> value = parse_strict_json(where, line, max_depth - 1);
    if (!value) return value.takeError();
    if (auto error = problems.add_shape(where, *value)) return error;
  }
  return llvm::Error::success();
}

// Every line alone is a value, or was to be one: then a second value stands where one text would have ended.
bool is_json_lines(llvm::StringRef text) {
  while (!text.empty()) {
    const auto [line, rest] = text.split('\n');
    text = rest;
    const llvm::StringRef first = line.trim();
    if (!first.empty() && !is_cut_record(first)) return first.starts_with("{") && first.ends_with("}");
  }
  return false;
}

llvm::Expected<Parsed> parse(llvm::StringRef file, llvm::StringRef text, Tokens tokens) {
  Problems problems(file, tokens);
  if (text.trim().empty()) return problems.take();
  if (is_json_lines(text)) {
    if (auto error = add_lines(problems, file, text)) return error;
    return problems.take();
  }
  llvm::Expected<Value> value = parse_strict_json(file, text, max_depth);
  if (!value) return value.takeError();
  if (auto error = add_list(problems, file, *value)) return error;
  return problems.take();
}

llvm::Expected<Parsed> read(const std::string& path, Tokens tokens) {
  llvm::Expected<InputFile> file = InputFile::open(path);
  if (!file) return file.takeError();
  llvm::Expected<std::string> text = file->read_all(max_file_bytes);
  if (!text) return text.takeError();
  return parse(path, *text, tokens);
}

llvm::Expected<Shapes> without_tokens(llvm::Expected<Parsed> parsed) {
  if (!parsed) return parsed.takeError();
  Shapes shapes;
  shapes.cut_lines = std::move(parsed->cut_lines);
  for (const SizedProblem& each : parsed->problems) shapes.problems.push_back(each.problem);
  return shapes;
}

// Records have no numbers of tokens, so that a cut one was never one of these.
llvm::Expected<std::vector<SizedProblem>> without_cut_lines(llvm::Expected<Parsed> parsed) {
  if (!parsed) return parsed.takeError();
  if (!parsed->cut_lines.empty()) return bad_shape(parsed->cut_lines.front(), "is cut short, allowed: a whole shape");
  return std::move(parsed->problems);
}

}  // namespace

llvm::Expected<Shapes> parse_shapes(llvm::StringRef file, llvm::StringRef text) {
  return without_tokens(parse(file, text, Tokens::passed_over));
}

llvm::Expected<Shapes> read_shapes(const std::string& path) { return without_tokens(read(path, Tokens::passed_over)); }

llvm::Expected<std::vector<SizedProblem>> parse_sized_shapes(llvm::StringRef file, llvm::StringRef text) {
  return without_cut_lines(parse(file, text, Tokens::required));
}

llvm::Expected<std::vector<SizedProblem>> read_sized_shapes(const std::string& path) {
  return without_cut_lines(read(path, Tokens::required));
}

}  // namespace mhcjit::tools
