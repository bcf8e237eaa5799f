// C++20 face of mhcjit.h: ownership, and outcomes as values. Header-only over the C ABI, so a program and the library
// may come from different compilers. Formulas, shapes, alignment and the meaning of each status stand in mhcjit.h and
// the headers that it names. Its structs, here as there, begin with their initialisers' values: `= {}`.
//
//     auto engine = mhcjit::Engine::create();
//     if (!engine) return fail(engine.status().text());
//     const mhcjit_problem problem = {.op = MHCJIT_PRE_FORWARD, .n = 4, .d = 4096, .dtype = MHCJIT_BF16};
//     auto forward = engine->prepare(problem, MHCJIT_DEVICE_GPU);            // once per shape
//     if (!forward) return fail(forward.status().text());
//     auto bytes = forward->workspace_bytes(T);                              // once per T
//     mhcjit_pre_forward_args args = {};                                     // then its fields
//     if (auto status = forward->pre_forward(args, stream); !status.ok())    // every layer
//       return fail(status.text());
//
// Nothing here throws, except that copying a failure's text may run out of memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "mhcjit/mhcjit.h"

namespace mhcjit {

// Outcome of one call: success, or a status of the C ABI with its text. A success carries no allocation, so it costs
// nothing on the launch path.
class [[nodiscard]] Status {
 public:
  Status() = default;

  // The outcome of a C call just made on this thread: takes the text of mhcjit_last_error() when it failed.
  static Status of_call(mhcjit_status code) {
    Status status;
    status.code_ = code;
    if (code != MHCJIT_SUCCESS) status.text_ = mhcjit_last_error();
    return status;
  }

  bool ok() const { return code_ == MHCJIT_SUCCESS; }
  mhcjit_status code() const { return code_; }
  const char* name() const { return mhcjit_status_name(code_); }

  // The failure, its inputs, the allowed values and the remedy; "" on success.
  const std::string& text() const { return text_; }

 private:
  mhcjit_status code_ = MHCJIT_SUCCESS;
  std::string text_;
};

// A value, or the status of the call that could not make it. Reading the value of a failed result is undefined.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : value_(std::move(value)) {}
  Result(Status failure) : status_(std::move(failure)) {}

  bool ok() const { return value_.has_value(); }
  explicit operator bool() const { return ok(); }
  const Status& status() const { return status_; }

  T& operator*() { return *value_; }
  const T& operator*() const { return *value_; }
  T* operator->() { return &*value_; }
  const T* operator->() const { return &*value_; }

 private:
  Status status_;
  std::optional<T> value_;
};

// One prepared operator: a handle as cheap to copy as a pointer, valid while its engine lives, usable from any thread.
class Operator {
 public:
  // Bytes of workspace for T tokens, in memory of the operator's device, aligned to 16; may be 0.
  // Errors: INVALID_ARGUMENT (T outside 0..2^31-1).
  Result<std::size_t> workspace_bytes(std::int64_t T) const {
    std::size_t bytes = 0;
    if (auto status = Status::of_call(mhcjit_workspace_bytes(handle_, T, &bytes)); !status.ok()) return status;
    return bytes;
  }

  // The plan for T tokens, and what it rests on; its strings live as long as the operator. See mhcjit_operator_plan.
  // Errors: INVALID_ARGUMENT (T outside 0..2^31-1), OUT_OF_MEMORY.
  Result<mhcjit_plan_info> plan(std::int64_t T) const {
    mhcjit_plan_info info = {};
    if (auto status = Status::of_call(mhcjit_operator_plan(handle_, T, &info)); !status.ok()) return status;
    return info;
  }

  // Enqueues forward on `stream` (CUstream or cudaStream_t; nullptr is the default stream). Equations 14-16 and the
  // errors stand at mhcjit_pre_forward.
  Status pre_forward(const mhcjit_pre_forward_args& args, void* stream = nullptr) const {
    return Status::of_call(mhcjit_pre_forward(handle_, &args, stream));
  }

  // Enqueues backward on `stream`; see mhcjit_pre_backward.
  Status pre_backward(const mhcjit_pre_backward_args& args, void* stream = nullptr) const {
    return Status::of_call(mhcjit_pre_backward(handle_, &args, stream));
  }

  // For the C ABI.
  const mhcjit_operator* handle() const { return handle_; }

 private:
  friend class Engine;
  explicit Operator(const mhcjit_operator* handle) : handle_(handle) {}

  const mhcjit_operator* handle_;
};

// The compiler, the cache and the prepared operators. Move only; destroying it destroys its operators, and nothing may
// be using them then. One engine serves a whole process: all its methods may be called from any number of threads.
class Engine {
 public:
  // Touches neither CUDA nor NVRTC nor the cache folder until something is prepared. Cost: microseconds.
  // Errors: INVALID_ARGUMENT (struct_size; negative cpu_threads; no_compile or $MHCJIT_NO_COMPILE neither 0 nor 1; a
  // plan of no family), OUT_OF_MEMORY.
  static Result<Engine> create(const mhcjit_engine_options& options = {}) {
    mhcjit_engine* handle = nullptr;
    if (auto status = Status::of_call(mhcjit_engine_create(&options, &handle)); !status.ok()) return status;
    return Engine(handle);
  }

  // Generates, finds in the cache or compiles, and loads the kernels: everything slow. The second call for a problem
  // is a look-up. `stream` is the stream of the launches to come: a problem that is not ready while that stream is
  // being captured gives NOT_PREPARED, and the capture stays valid. All errors stand at mhcjit_prepare.
  Result<Operator> prepare(const mhcjit_problem& problem, mhcjit_device device, void* stream = nullptr) {
    const mhcjit_operator* handle = nullptr;
    if (auto status = Status::of_call(mhcjit_prepare(handle_.get(), &problem, device, stream, &handle)); !status.ok())
      return status;
    return Operator(handle);
  }

  // Compiles for a named architecture ("sm_80", "sm_90a", ...) into the cache, without a GPU or a driver.
  // Errors: INVALID_ARGUMENT, NO_NVRTC, COMPILATION_FAILED, NOT_IN_CACHE, OUT_OF_MEMORY, IO (template_dir).
  Result<mhcjit_compile_result> compile(const mhcjit_problem& problem, const std::string& architecture) {
    mhcjit_compile_result result = {};
    if (auto status = Status::of_call(mhcjit_compile(handle_.get(), &problem, architecture.c_str(), &result));
        !status.ok())
      return status;
    return result;
  }

  // Counts of what this engine has found, compiled and loaded since its creation.
  Result<mhcjit_counters> counters() const {
    mhcjit_counters counters = {};
    if (auto status = Status::of_call(mhcjit_engine_counters(handle_.get(), &counters)); !status.ok()) return status;
    return counters;
  }

  // For the C ABI.
  mhcjit_engine* handle() const { return handle_.get(); }

 private:
  struct Destroy {
    void operator()(mhcjit_engine* engine) const { mhcjit_engine_destroy(engine); }
  };

  explicit Engine(mhcjit_engine* handle) : handle_(handle) {}

  std::unique_ptr<mhcjit_engine, Destroy> handle_;
};

// The argument struct of the problem's operator, member by member, for bindings; see arguments.h.
// Errors: INVALID_ARGUMENT (problem), OUT_OF_MEMORY.
inline Result<std::vector<mhcjit_argument>> operator_arguments(const mhcjit_problem& problem) {
  std::size_t count = 0, struct_bytes = 0;
  if (auto status = Status::of_call(mhcjit_operator_arguments(&problem, &count, &struct_bytes)); !status.ok())
    return status;
  std::vector<mhcjit_argument> arguments(count);
  for (std::size_t i = 0; i < count; ++i)
    if (auto status = Status::of_call(mhcjit_operator_argument(&problem, i, &arguments[i])); !status.ok())
      return status;
  return arguments;
}

}  // namespace mhcjit
