// The functions of mhcjit.h.
#include <cstring>

#include "mhcjit/mhcjit.h"
#include "runtime/api_boundary.h"
#include "runtime/engine.h"
#include "runtime/stopwatch.h"

using namespace mhcjit;
using namespace mhcjit::runtime;

namespace {

Engine* from_handle(mhcjit_engine* handle) { return reinterpret_cast<Engine*>(handle); }
const Engine* from_handle(const mhcjit_engine* handle) { return reinterpret_cast<const Engine*>(handle); }
const Operator* from_handle(const mhcjit_operator* handle) { return reinterpret_cast<const Operator*>(handle); }

mhcjit_compile_result result_of(const Builder::Built& built, double milliseconds) {
  mhcjit_compile_result result = {};
  result.cache_hit = built.cache_hit ? 1 : 0;
  result.milliseconds = milliseconds;
  result.cubin_bytes = built.compiled->cubin_bytes();
  std::strncpy(result.digest, built.compiled->digest().c_str(), sizeof result.digest - 1);
  return result;
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
    auto settings = settings_from(options == nullptr ? mhcjit_engine_options{} : *options);
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
    auto prepared = from_handle(engine)->prepare(*problem, device, stream);
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

mhcjit_status mhcjit_compile(mhcjit_engine* engine, const mhcjit_problem* problem, const char* architecture,
                             mhcjit_compile_result* result) {
  return guarded([&]() -> llvm::Error {
    const Stopwatch watch;
    if (auto error = check_not_null(engine, "engine")) return error;
    if (auto error = check_not_null(problem, "problem")) return error;
    if (auto error = check_not_null(architecture, "architecture")) return error;
    auto parsed = codegen::parse_architecture(architecture);
    if (!parsed) return parsed.takeError();
    auto asked = codegen::from_public(*problem, *parsed);
    if (!asked) return asked.takeError();
    auto built = from_handle(engine)->compile(*asked);
    if (!built) return built.takeError();
    if (result != nullptr) *result = result_of(*built, watch.milliseconds());
    return llvm::Error::success();
  });
}

mhcjit_status mhcjit_engine_counters(const mhcjit_engine* engine, mhcjit_counters* counters) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(engine, "engine")) return error;
    if (auto error = check_not_null(counters, "counters")) return error;
    *counters = from_handle(engine)->counters();
    return llvm::Error::success();
  });
}

mhcjit_status mhcjit_pre_forward(const mhcjit_operator* op, const mhcjit_pre_forward_args* args, void* stream) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(op, "op")) return error;
    if (auto error = check_not_null(args, "args")) return error;
    return from_handle(op)->run(MHCJIT_PRE_FORWARD, args, stream);
  });
}

mhcjit_status mhcjit_pre_backward(const mhcjit_operator* op, const mhcjit_pre_backward_args* args, void* stream) {
  return guarded([&]() -> llvm::Error {
    if (auto error = check_not_null(op, "op")) return error;
    if (auto error = check_not_null(args, "args")) return error;
    return from_handle(op)->run(MHCJIT_PRE_BACKWARD, args, stream);
  });
}
