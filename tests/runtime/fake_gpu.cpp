#include "tests/runtime/fake_gpu.h"

#include <dlfcn.h>

#include <cstring>
#include <random>
#include <stdexcept>

namespace mhcjit::test {
namespace {

template <typename State>
State& state_of(const char* path, const char* function) {
  void* const library = dlopen(path, RTLD_NOW);
  if (library == nullptr) throw std::runtime_error(dlerror());
  return *reinterpret_cast<State* (*)()>(dlsym(library, function))();
}

std::size_t element_bytes(const mhcjit_problem& problem) { return problem.dtype == MHCJIT_FP32 ? 4 : 2; }

template <typename Call>
bool all_unchanged(const Call& call) {
  for (const Tensor& tensor : call.tensors)
    if (!tensor.unchanged()) return false;
  return true;
}

// Adds a tensor of at least one byte and points `argument` at it.
template <typename Pointer>
void add(std::vector<Tensor>& tensors, Pointer& argument, std::size_t bytes) {
  tensors.emplace_back(bytes + 1);
  argument = static_cast<Pointer>(tensors.back().data());
}

}  // namespace

fake::Driver& driver() {
  static fake::Driver& state = state_of<fake::Driver>(FAKE_DRIVER, "fake_driver");
  return state;
}

fake::Compiler& compiler() {
  static fake::Compiler& state = state_of<fake::Compiler>(FAKE_NVRTC, "fake_compiler");
  return state;
}

Tensor::Tensor(std::size_t bytes) : written_(bytes) {
  static std::mt19937 random(20240607);
  for (std::uint8_t& byte : written_) byte = static_cast<std::uint8_t>(random());
  if (mhcjit_memory_allocate(bytes, &memory_) != MHCJIT_SUCCESS ||
      mhcjit_memory_copy_to_device(memory_, written_.data(), bytes) != MHCJIT_SUCCESS)
    throw std::runtime_error(mhcjit_last_error());
}

bool Tensor::unchanged() const { return std::memcmp(memory_, written_.data(), written_.size()) == 0; }

ForwardCall::ForwardCall(const mhcjit_problem& problem, std::int64_t T, std::size_t workspace_bytes) {
  const std::size_t n = problem.n, d = problem.d, rows = n * n + 2 * n, tokens = T, element = element_bytes(problem);
  add(tensors, args.x, tokens * n * d * element);
  add(tensors, args.phi, rows * n * d * 4);
  add(tensors, args.alpha, 12);
  add(tensors, args.bias, rows * 4);
  if (problem.has_gamma) add(tensors, args.gamma, n * d * 4);
  add(tensors, args.h_in, tokens * d * element);
  add(tensors, args.h_post, tokens * n * 4);
  add(tensors, args.h_res, tokens * n * n * 4);
  add(tensors, args.inv_rms, tokens * 4);
  add(tensors, args.h_mix, tokens * rows * 4);
  add(tensors, args.h_pre, tokens * n * 4);
  add(tensors, args.workspace, workspace_bytes);
  args.workspace_bytes = workspace_bytes;
  args.T = T;
  args.norm_eps = 2e-6f;
  args.hc_eps = 3e-6f;
}

bool ForwardCall::unchanged() const { return all_unchanged(*this); }

BackwardCall::BackwardCall(const mhcjit_problem& problem, std::int64_t T, std::size_t workspace_bytes) {
  const std::size_t n = problem.n, d = problem.d, rows = n * n + 2 * n, tokens = T, element = element_bytes(problem);
  add(tensors, args.x, tokens * n * d * element);
  add(tensors, args.phi, rows * n * d * 4);
  add(tensors, args.alpha, 12);
  if (problem.has_gamma) add(tensors, args.gamma, n * d * 4);
  add(tensors, args.inv_rms, tokens * 4);
  add(tensors, args.h_mix, tokens * rows * 4);
  add(tensors, args.h_pre, tokens * n * 4);
  add(tensors, args.h_post, tokens * n * 4);
  add(tensors, args.dh_in, tokens * d * element);
  add(tensors, args.dh_post, tokens * n * 4);
  add(tensors, args.dh_res, tokens * n * n * 4);
  add(tensors, args.dx, tokens * n * d * element);
  add(tensors, args.dphi, rows * n * d * 4);
  if (problem.has_gamma) add(tensors, args.dgamma, n * d * 4);
  add(tensors, args.dalpha, 12);
  add(tensors, args.dbias, rows * 4);
  add(tensors, args.workspace, workspace_bytes);
  args.workspace_bytes = workspace_bytes;
  args.T = T;
  args.hc_eps = 3e-6f;
}

bool BackwardCall::unchanged() const { return all_unchanged(*this); }

void FakeGpuTest::SetUp() {
  driver().reset();
  driver().set_current_device(0);
  compiler().compiles = 0;
  compiler().most_units_at_once = 0;
  compiler().result = NVRTC_SUCCESS;
  compiler().duration = std::chrono::milliseconds(0);
  driver_path = FAKE_DRIVER;
  nvrtc_path = FAKE_NVRTC;
}

mhcjit_engine_options FakeGpuTest::options() {
  mhcjit_engine_options options = {};
  options.cache_dir = cache_dir.c_str();
  options.driver_path = driver_path.c_str();
  options.nvrtc_path = nvrtc_path.empty() ? nullptr : nvrtc_path.c_str();
  options.log = [](mhcjit_log_level, const char* line, void* user) {
    static_cast<std::vector<std::string>*>(user)->push_back(line);
  };
  options.log_user = &warnings;
  return options;
}

EnginePtr FakeGpuTest::make_engine(const char* kernel_template) {
  mhcjit_engine_options chosen = options();
  if (kernel_template != nullptr) chosen.kernel_template = kernel_template;
  mhcjit_engine* engine = nullptr;
  EXPECT_EQ(mhcjit_engine_create(&chosen, &engine), MHCJIT_SUCCESS) << mhcjit_last_error();
  return EnginePtr(engine);
}

const mhcjit_operator* FakeGpuTest::prepare(const EnginePtr& engine, const mhcjit_problem& problem) {
  const mhcjit_operator* op = nullptr;
  EXPECT_EQ(mhcjit_prepare(engine.get(), &problem, MHCJIT_DEVICE_GPU, nullptr, &op), MHCJIT_SUCCESS)
      << mhcjit_last_error();
  return op;
}

std::size_t FakeGpuTest::workspace_bytes(const mhcjit_operator* op, std::int64_t T) {
  std::size_t bytes = 0;
  EXPECT_EQ(mhcjit_workspace_bytes(op, T, &bytes), MHCJIT_SUCCESS) << mhcjit_last_error();
  return bytes;
}

void FakeGpuTest::expect_failure(mhcjit_status got, mhcjit_status status, const std::vector<std::string>& parts) {
  const std::string text = mhcjit_last_error();
  EXPECT_EQ(got, status) << mhcjit_status_name(got) << ": " << text;
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << part << "\nis not in: " << text;
  EXPECT_FALSE(text.ends_with('.')) << text;
}

}  // namespace mhcjit::test
