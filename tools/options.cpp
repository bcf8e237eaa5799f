#include "tools/options.h"

#include <cmath>
#include <cstdlib>

#include <llvm/ADT/STLExtras.h>
#include <llvm/ADT/SmallVector.h>

#include "cache/location.h"
#include "codegen/operators.h"
#include "tools/command.h"

namespace mhcjit::tools {
namespace {

// The parts of a comma list, each parsed by `parse`.
template <typename Value, typename Parse>
llvm::Expected<std::vector<Value>> parse_list(llvm::StringRef option, llvm::StringRef text, const Parse& parse) {
  if (auto given = required(option, text); !given) return given.takeError();
  llvm::SmallVector<llvm::StringRef> parts;
  text.split(parts, ',');
  std::vector<Value> values;
  for (const llvm::StringRef part : parts) {
    llvm::Expected<Value> value = parse(part);
    if (!value) return value.takeError();
    if (llvm::is_contained(values, *value))
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is '{}', allowed: each value once", option.str(),
                        text.str());
    values.push_back(*value);
  }
  return values;
}

}  // namespace

llvm::StringRef operator_help() {
  static const std::string help = "one of " + codegen::operator_names();
  return help;
}

llvm::Expected<std::string> required(llvm::StringRef option, llvm::StringRef text) {
  if (!text.empty()) return text.str();
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is missing, see --help", option.str());
}

llvm::Expected<std::int64_t> parse_integer(llvm::StringRef option, llvm::StringRef text, std::int64_t least,
                                           std::int64_t most) {
  if (auto given = required(option, text); !given) return given.takeError();
  std::int64_t value = 0;
  if (text.getAsInteger(10, value) || value < least || value > most)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is '{}', allowed: an integer of {} to {}", option.str(),
                      text.str(), least, most);
  return value;
}

llvm::Expected<std::string> cache_folder(const std::string& cache_dir) {
  const auto get_environment = [](const char* name) -> const char* { return std::getenv(name); };
  std::vector<cache::PassedOver> passed_over;
  std::string folder = cache_dir.empty() ? cache::default_root(get_environment, passed_over) : cache_dir;
  static_cast<void>(cache::default_read_only_roots(get_environment, passed_over));
  for (const cache::PassedOver& place : passed_over) say(to_string(place));
  if (!folder.empty()) return folder;
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "there is no cache folder: pass --cache-dir, or set MHCJIT_CACHE_DIR or HOME");
}

llvm::Expected<double> parse_number(llvm::StringRef option, llvm::StringRef text, double least) {
  double value = 0;
  if (text.getAsDouble(value) || !std::isfinite(value) || value < least)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{} is '{}', allowed: a finite number of at least {}",
                      option.str(), text.str(), least);
  return value;
}

llvm::Expected<std::vector<std::int64_t>> parse_integers(llvm::StringRef option, llvm::StringRef text,
                                                         std::int64_t least, std::int64_t most) {
  return parse_list<std::int64_t>(option, text,
                                  [&](llvm::StringRef part) { return parse_integer(option, part, least, most); });
}

llvm::Expected<std::vector<codegen::Architecture>> parse_architectures(llvm::StringRef option, llvm::StringRef text) {
  return parse_list<codegen::Architecture>(option, text,
                                           [](llvm::StringRef part) { return codegen::parse_architecture(part); });
}

llvm::Expected<std::vector<codegen::Problem>> parse_problems(const ProblemOptions& options,
                                                             std::span<const codegen::Operator* const> ops) {
  auto streams = parse_integers("--n", options.n, 1, codegen::max_n);
  if (!streams) return streams.takeError();
  auto sizes = parse_integers("--d", options.d, 1, codegen::max_d);
  if (!sizes) return sizes.takeError();
  auto dtypes = parse_list<codegen::DType>("--dtype", options.dtype,
                                           [](llvm::StringRef part) { return codegen::parse_dtype(part); });
  if (!dtypes) return dtypes.takeError();
  const auto has_fp32_dx = [](const codegen::Operator* op) {
    return op->has_dtype_flag(&codegen::Problem::has_fp32_dx);
  };
  if (options.fp32_dx && llvm::none_of(ops, has_fp32_dx))
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--fp32-dx is given with {}, allowed: with {}", ops.front()->name,
                      codegen::operator_names(&codegen::Problem::has_fp32_dx));
  auto architectures = parse_architectures("--arch", options.architecture);
  if (!architectures) return architectures.takeError();

  std::vector<codegen::Problem> problems;
  for (const codegen::Architecture& architecture : *architectures)
    for (const codegen::DType dtype : *dtypes)
      for (const std::int64_t n : *streams)
        for (const std::int64_t d : *sizes)
          for (const codegen::Operator* op : ops)
            problems.push_back({op, static_cast<int>(n), d, dtype, options.gamma, options.batch_invariant, architecture,
                                options.fp32_dx && has_fp32_dx(op)});
  return problems;
}

}  // namespace mhcjit::tools
