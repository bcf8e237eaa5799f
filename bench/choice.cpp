#include "bench/choice.h"

#include "runtime/builder.h"
#include "runtime/settings.h"

namespace mhcjit::bench {

llvm::Expected<std::vector<codegen::Bucket>> chosen_buckets(const codegen::Problem& problem) {
  auto settings = runtime::settings_from({});
  if (!settings) return settings.takeError();
  runtime::TunedRecords tuned(settings->tuned_path, settings->log);
  return runtime::buckets_of({problem, settings->plan}, tuned.of(problem.architecture));
}

}  // namespace mhcjit::bench
