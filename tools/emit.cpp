#include "codegen/emit.h"

#include <llvm/ADT/STLExtras.h>

#include "bench/choice.h"
#include "codegen/operators.h"
#include "tools/command.h"
#include "tools/options.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;

cl::SubCommand emit("emit", "print the source that would be compiled for a problem");
cl::opt<std::string> op("op", cl::desc(operator_help()), cl::value_desc("OP"), cl::sub(emit));
cl::opt<std::string> n("n", cl::desc("residual streams, 1 to 16"), cl::value_desc("N"), cl::sub(emit));
cl::opt<std::string> d("d", cl::desc("hidden size D, 1 to 16777216"), cl::value_desc("D"), cl::sub(emit));
cl::opt<std::string> dtype("dtype", cl::desc("dtype of x: bf16 (default), fp16 or fp32"), cl::value_desc("DTYPE"),
                           cl::init("bf16"), cl::sub(emit));
cl::opt<std::string> arch("arch", cl::desc("architecture, such as sm_80 or sm_90a"), cl::value_desc("ARCH"),
                          cl::sub(emit));
cl::opt<std::string> plan(
    "plan", cl::desc("a family and parameters of it, or clusters=0; default: $MHCJIT_PLAN, else the library's choice"),
    cl::value_desc("PLAN"), cl::sub(emit));
cl::opt<bool> gamma("gamma", cl::desc("the problem has gamma"), cl::sub(emit));
cl::opt<bool> batch_invariant("batch-invariant", cl::desc("row t has the same bits whatever T is"), cl::sub(emit));
cl::opt<bool> fp32_dx("fp32-dx", cl::desc("dx is fp32 whatever dtype is"), cl::sub(emit));

// One that is asked for here must fit; the one of the environment serves the problems that it fits, as in an engine.
llvm::Expected<std::vector<codegen::Bucket>> buckets_of(const codegen::Problem& problem) {
  if (plan.empty()) return bench::chosen_buckets(problem);
  if (auto error = codegen::check_wanted(plan.getValue())) return error;
  return codegen::choose(problem, {.wanted = plan});
}

llvm::Expected<Report> run() {
  llvm::Expected<std::string> name = required("--op", op);
  if (!name) return name.takeError();
  llvm::Expected<const codegen::Operator*> asked = codegen::parse_operator(*name);
  if (!asked) return asked.takeError();
  auto problems = parse_problems({n, d, dtype, arch, gamma, batch_invariant, fp32_dx}, {&*asked, 1});
  if (!problems) return problems.takeError();
  if (problems->size() != 1)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--n, --d, --dtype and --arch name {} problems, allowed: 1",
                      problems->size());
  const codegen::Problem& problem = problems->front();
  auto buckets = buckets_of(problem);
  if (!buckets) return buckets.takeError();
  std::vector<std::string> units;  // buckets share kernels
  for (const codegen::Bucket& bucket : *buckets)
    for (const codegen::Kernel& kernel : bucket.plan->kernels())
      if (std::string unit = codegen::emit(problem, kernel); !llvm::is_contained(units, unit))
        units.push_back(std::move(unit));
  return Report{exit_ok, {}, fmt::format("{}", fmt::join(units, "\n"))};
}

}  // namespace

const Command& emit_command() {
  static const Command command = {
      emit, "--op OP --n N --d D --arch ARCH [--dtype DTYPE] [--gamma] [--batch-invariant] [--fp32-dx] [--plan PLAN]",
      "Prints on stdout the exact units that warmup and run hand to the compiler, one for each kernel. They include\n"
      "kernel templates by name, which the library holds.",
      fmt::format("  mhcjit emit --op {0} --n 4 --d 4096 --dtype bf16 --arch sm_90a\n"
                  "  mhcjit emit --op {0} --n 4 --d 4096 --arch sm_90a --plan {1}\n"
                  "  mhcjit emit --op {2} --n 4 --d 7168 --arch sm_100a --gamma",
                  codegen::operators().front()->name, codegen::operators().front()->families.front()->name,
                  codegen::operators().back()->name),
      run};
  return command;
}

}  // namespace mhcjit::tools
