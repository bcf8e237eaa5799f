#include "codegen/emit.h"

#include "bench/spec.h"
#include "codegen/heuristic.h"
#include "tools/command.h"
#include "tools/options.h"

namespace mhcjit::tools {
namespace {

namespace cl = llvm::cl;

cl::SubCommand emit("emit", "print the source that would be compiled for a problem");
cl::opt<std::string> op("op", cl::desc("pre_forward or pre_backward"), cl::value_desc("OP"), cl::sub(emit));
cl::opt<std::string> n("n", cl::desc("residual streams, 1 to 16"), cl::value_desc("N"), cl::sub(emit));
cl::opt<std::string> d("d", cl::desc("hidden size D, 1 to 16777216"), cl::value_desc("D"), cl::sub(emit));
cl::opt<std::string> dtype("dtype", cl::desc("dtype of x: bf16 (default), fp16 or fp32"), cl::value_desc("DTYPE"),
                           cl::init("bf16"), cl::sub(emit));
cl::opt<std::string> arch("arch", cl::desc("architecture, such as sm_80 or sm_90a"), cl::value_desc("ARCH"),
                          cl::sub(emit));
cl::opt<std::string> kernel_template(
    "template",
    cl::desc("portable, two_pass, one_pass or few_tokens; default: $MHCJIT_TEMPLATE, else the library's choice"),
    cl::value_desc("TEMPLATE"), cl::sub(emit));
cl::opt<bool> gamma("gamma", cl::desc("the problem has gamma"), cl::sub(emit));
cl::opt<bool> batch_invariant("batch-invariant", cl::desc("row t has the same bits whatever T is"), cl::sub(emit));

// One that is asked for here must fit; the one of the environment serves the problems that it fits, as in an engine.
llvm::Expected<codegen::KernelSpec> spec_of(const codegen::Problem& problem) {
  if (!kernel_template.empty()) {
    llvm::Expected<codegen::KernelTemplate> wanted = codegen::parse_kernel_template(kernel_template);
    if (!wanted) return wanted.takeError();
    return codegen::choose_spec(problem, *wanted);
  }
  return bench::spec_of(problem);
}

llvm::Expected<Report> run() {
  llvm::Expected<std::string> name = required("--op", op);
  if (!name) return name.takeError();
  llvm::Expected<codegen::Op> asked = codegen::parse_op(*name);
  if (!asked) return asked.takeError();
  auto problems = parse_problems({n, d, dtype, arch, gamma, batch_invariant}, {*asked});
  if (!problems) return problems.takeError();
  if (problems->size() != 1)
    return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "--n, --d, --dtype and --arch name {} problems, allowed: 1",
                      problems->size());
  llvm::Expected<codegen::KernelSpec> spec = spec_of(problems->front());
  if (!spec) return spec.takeError();
  return Report{exit_ok, {}, fmt::format("{}", fmt::join(codegen::emit_units(*spec), "\n"))};
}

}  // namespace

const Command& emit_command() {
  static const Command command = {
      emit, "--op OP --n N --d D --arch ARCH [--dtype DTYPE] [--gamma] [--batch-invariant] [--template TEMPLATE]",
      "Prints on stdout the exact units that warmup and run hand to the compiler, one for each kernel, in the\n"
      "order of their launches. They include kernel templates by name, which the library holds.",
      "  mhcjit emit --op pre_forward --n 4 --d 4096 --dtype bf16 --arch sm_90a\n"
      "  mhcjit emit --op pre_forward --n 4 --d 4096 --arch sm_90a --template one_pass\n"
      "  mhcjit emit --op pre_backward --n 4 --d 7168 --arch sm_100a --gamma",
      run};
  return command;
}

}  // namespace mhcjit::tools
