// The functions of mhcjit.h but for those of each operator. Every struct of a caller enters and leaves through
// sized_struct.h.
#include <cstring>
#include <vector>

#include "codegen/operator.h"
#include "mhcjit/mhcjit.h"
#include "runtime/api_boundary.h"
#include "runtime/argument_list.h"
#include "runtime/engine.h"
#include "runtime/sized_struct.h"
#include "runtime/stopwatch.h"
#include "support/error.h"

using namespace mhcjit;
using namespace mhcjit::runtime;

namespace {

Engine* from_handle(mhcjit_engine* handle) { return reinterpret_cast<Engine*>(handle); }
const Engine* from_handle(const mhcjit_engine* handle) { return reinterpret_cast<const Engine*>(handle); }

mhcjit_compile_result result_of(const Builder::Built& built, double milliseconds) {
  mhcjit_compile_result result = {};
  result.cache_hit = built.cache_hit ? 1 : 0;
  result.milliseconds = milliseconds;
  result.cubin_bytes = built.compiled->cubin_bytes();
  std::strncpy(result.digest, built.compiled->digest().c_str(), sizeof result.digest - 1);
  return result;
}

llvm::Expected<codegen::Problem> checked(const mhcjit_problem& problem, const codegen::Architecture& architecture) {
  return with_filled(problem, [&](const mhcjit_problem& known) { return codegen::from_public(known, architecture); });
}

}  // namespace

const char* mhcjit_version(void) { return MHCJIT_VERSION; }

const char* mhcjit_status_name(mhcjit_status status) {
  switch (status) {
#define MHCJIT_NAME(name) \
  case name: return #name;
    MHCJIT_NAME(MHCJIT_SUCCESS)
    MHCJIT_NAME(MHCJIT_ERROR_INVALID_ARGUMENT)
    MHCJIT_NAME(MHCJIT_ERROR_NULL_POINTER)
    MHCJIT_NAME(MHCJIT_ERROR_MISALIGNED_POINTER)
    MHCJIT_NAME(MHCJIT_ERROR_WORKSPACE_TOO_SMALL)
    MHCJIT_NAME(MHCJIT_ERROR_WRONG_DEVICE)
    MHCJIT_NAME(MHCJIT_ERROR_NO_DEVICE)
    MHCJIT_NAME(MHCJIT_ERROR_NO_NVRTC)
    MHCJIT_NAME(MHCJIT_ERROR_COMPILATION_FAILED)
    MHCJIT_NAME(MHCJIT_ERROR_NOT_PREPARED)
    MHCJIT_NAME(MHCJIT_ERROR_LOAD_FAILED)
    MHCJIT_NAME(MHCJIT_ERROR_LAUNCH_FAILED)
    MHCJIT_NAME(MHCJIT_ERROR_OUT_OF_MEMORY)
    MHCJIT_NAME(MHCJIT_ERROR_IO)
    MHCJIT_NAME(MHCJIT_ERROR_BAD_FILE)
    MHCJIT_NAME(MHCJIT_ERROR_FORKED)
    MHCJIT_NAME(MHCJIT_ERROR_NOT_IN_CACHE)
    MHCJIT_NAME(MHCJIT_ERROR_INTERNAL)
#undef MHCJIT_NAME
  }
  return "unknown status";
}

const char* mhcjit_last_error(void) { return last_error(); }

mhcjit_status mhcjit_engine_create(const mhcjit_engine_options* options, mhcjit_engine** engine) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(engine, "engine")) return error;
    *engine = nullptr;
    const mhcjit_engine_options defaults = {};
    auto settings = with_filled(options == nullptr ? defaults : *options, settings_from);
    if (!settings) return settings.takeError();
    *engine = reinterpret_cast<mhcjit_engine*>(new Engine(*settings));
    return llvm::Error::success();
  });
}

void mhcjit_engine_destroy(mhcjit_engine* engine) { delete from_handle(engine); }

mhcjit_status mhcjit_prepare(mhcjit_engine* engine, const mhcjit_problem* problem, mhcjit_device device, void* stream,
                             const mhcjit_operator** op) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(engine, "engine")) return error;
    if (auto error = check_not_null(problem, "problem")) return error;
    if (auto error = check_not_null(op, "op")) return error;
    auto prepared = with_filled(
        *problem, [&](const mhcjit_problem& known) { return from_handle(engine)->prepare(known, device, stream); });
    if (!prepared) return prepared.takeError();
    *op = reinterpret_cast<const mhcjit_operator*>(*prepared);
    return llvm::Error::success();
  });
}

mhcjit_status mhcjit_workspace_bytes(const mhcjit_operator* op, int64_t T, size_t* bytes) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(op, "op")) return error;
    if (auto error = check_not_null(bytes, "bytes")) return error;
    auto needed = from_handle(op)->workspace_bytes(T);
    if (!needed) return needed.takeError();
    *bytes = *needed;
    return llvm::Error::success();
  });
}

mhcjit_status mhcjit_operator_plan(const mhcjit_operator* op, int64_t T, mhcjit_plan_info* info) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(op, "op")) return error;
    if (auto error = check_not_null(info, "info")) return error;
    if (auto error = check_received(*info)) return error;
    auto plan = from_handle(op)->plan(T);
    if (!plan) return plan.takeError();
    write_received(*plan, *info);
    return llvm::Error::success();
  });
}

mhcjit_status mhcjit_compile(mhcjit_engine* engine, const mhcjit_problem* problem, const char* architecture,
                             mhcjit_compile_result* result) {
  return guarded([&]() -> llvm::Error {
    const Stopwatch watch;
    if (auto error = check_not_null(engine, "engine")) return error;
    if (auto error = check_not_null(problem, "problem")) return error;
    if (auto error = check_not_null(architecture, "architecture")) return error;
    if (result != nullptr)
      if (auto error = check_received(*result)) return error;
    auto parsed = codegen::parse_architecture(architecture);
    if (!parsed) return parsed.takeError();
    auto asked = checked(*problem, *parsed);
    if (!asked) return asked.takeError();
    auto built = from_handle(engine)->compile(*asked);
    if (!built) return built.takeError();
    if (result != nullptr) write_received(result_of(*built, watch.milliseconds()), *result);
    return llvm::Error::success();
  });
}

mhcjit_status mhcjit_engine_counters(const mhcjit_engine* engine, mhcjit_counters* counters) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(engine, "engine")) return error;
    if (auto error = check_not_null(counters, "counters")) return error;
    if (auto error = check_received(*counters)) return error;
    write_received(from_handle(engine)->counters(), *counters);
    return llvm::Error::success();
  });
}

mhcjit_status mhcjit_operator_arguments(const mhcjit_problem* problem, size_t* count, size_t* struct_bytes) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(problem, "problem")) return error;
    if (auto error = check_not_null(count, "count")) return error;
    if (auto error = check_not_null(struct_bytes, "struct_bytes")) return error;
    auto asked = checked(*problem, {});
    if (!asked) return asked.takeError();
    *count = argument_list(*asked).size();
    *struct_bytes = asked->op->arguments.bytes;
    return llvm::Error::success();
  });
}

mhcjit_status mhcjit_operator_argument(const mhcjit_problem* problem, size_t index, mhcjit_argument* argument) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(problem, "problem")) return error;
    if (auto error = check_not_null(argument, "argument")) return error;
    if (auto error = check_received(*argument)) return error;
    auto asked = checked(*problem, {});
    if (!asked) return asked.takeError();
    const std::vector<mhcjit_argument> list = argument_list(*asked);
    if (index >= list.size())
      return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "index is {}, allowed: 0 to {}", index, list.size() - 1);
    write_received(list[index], *argument);
    return llvm::Error::success();
  });
}
