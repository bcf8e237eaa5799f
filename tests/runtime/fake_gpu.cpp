#include "tests/runtime/fake_gpu.h"

#include <dlfcn.h>

#include <cstring>
#include <mutex>
#include <random>
#include <stdexcept>

#include "codegen/emit.h"
#include "oracle/tensors.h"
#include "runtime/builder.h"

namespace mhcjit::test {
namespace {

template <typename State>
State& state_of(const char* path, const char* function) {
  void* const library = dlopen(path, RTLD_NOW);
  if (library == nullptr) throw std::runtime_error(dlerror());
  return *reinterpret_cast<State* (*)()>(dlsym(library, function))();
}

template <typename Call>
bool all_unchanged(const Call& call) {
  for (const Tensor& tensor : call.tensors)
    if (!tensor.unchanged()) return false;
  return true;
}

// Adds every tensor and the workspace, of at least one byte each, and points `args` at them.
template <typename Args>
void fill(const mhcjit_problem& problem, Args& args, std::vector<Tensor>& tensors) {
  const auto add = [&](std::size_t bytes) { return tensors.emplace_back(bytes + 1).data(); };
  const oracle::Shape shape = {args.T, problem.n, problem.d, problem.has_gamma == 1};
  oracle::visit_tensors(shape, args, [&](const oracle::Tensor& tensor, auto& pointer) {
    const std::size_t element =
        oracle::dtype_of(tensor.name, {problem.dtype, problem.fp32_dx == 1}) == MHCJIT_FP32 ? 4 : 2;
    oracle::point(pointer, add(static_cast<std::size_t>(tensor.count) * element));
  });
  args.workspace = add(args.workspace_bytes);
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
  args.T = T;
  args.norm_eps = 2e-6f;
  args.hc_eps = 3e-6f;
  args.post_mult = 1.5f;
  args.workspace_bytes = workspace_bytes;
  fill(problem, args, tensors);
}

bool ForwardCall::unchanged() const { return all_unchanged(*this); }

BackwardCall::BackwardCall(const mhcjit_problem& problem, std::int64_t T, std::size_t workspace_bytes) {
  args.T = T;
  args.hc_eps = 3e-6f;
  args.post_mult = 1.5f;
  args.workspace_bytes = workspace_bytes;
  fill(problem, args, tensors);
}

bool BackwardCall::unchanged() const { return all_unchanged(*this); }

void FakeGpuTest::SetUp() {
  driver().reset();
  driver().set_current_device(0);
  compiler().compiles = 0;
  compiler().take_compiled();
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
    static std::mutex mutex;  // kernels are compiled by several threads
    const std::lock_guard lock(mutex);
    static_cast<std::vector<std::string>*>(user)->push_back(line);
  };
  options.log_user = &warnings;
  return options;
}

EnginePtr FakeGpuTest::make_engine(const char* plan) {
  mhcjit_engine_options chosen = options();
  if (plan != nullptr) chosen.plan = plan;
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

mhcjit_counters FakeGpuTest::counters(const EnginePtr& engine) {
  mhcjit_counters counters = {};
  EXPECT_EQ(mhcjit_engine_counters(engine.get(), &counters), MHCJIT_SUCCESS) << mhcjit_last_error();
  return counters;
}

std::vector<codegen::Bucket> FakeGpuTest::buckets_of(const mhcjit_problem& problem, const std::string& plan) {
  const codegen::Problem asked = llvm::cantFail(codegen::from_public(problem, {9, 0, 'a'}));
  return llvm::cantFail(runtime::buckets_of({asked, plan}, runtime::TunedRecords("", {}).of(asked.architecture)));
}

std::vector<std::string> FakeGpuTest::kernels_of(const mhcjit_problem& problem, const std::string& plan) {
  std::vector<std::string> entries;
  std::set<std::string> units;
  for (const codegen::Bucket& bucket : buckets_of(problem, plan))
    for (const codegen::Kernel& kernel : bucket.plan->kernels())
      if (units.insert(codegen::emit(bucket.plan->problem(), kernel)).second) entries.push_back(kernel.entry());
  return entries;
}

int FakeGpuTest::load_count(const mhcjit_problem& problem) {
  std::set<std::tuple<std::string, bool, std::vector<std::string_view>>> loads;
  for (const codegen::Bucket& bucket : buckets_of(problem))
    for (const codegen::Kernel& kernel : bucket.plan->kernels())
      loads.emplace(codegen::emit(bucket.plan->problem(), kernel), kernel.leaves_shared_memory, kernel.makes);
  return static_cast<int>(loads.size());
}

std::set<std::string> FakeGpuTest::units_of(const mhcjit_problem& problem, const std::string& plan) {
  std::set<std::string> units;
  for (const codegen::Bucket& bucket : buckets_of(problem, plan))
    for (const codegen::Kernel& kernel : bucket.plan->kernels())
      units.insert(codegen::emit(bucket.plan->problem(), kernel));
  return units;
}

void FakeGpuTest::expect_failure(mhcjit_status got, mhcjit_status status, const std::vector<std::string>& parts) {
  const std::string text = mhcjit_last_error();
  EXPECT_EQ(got, status) << mhcjit_status_name(got) << ": " << text;
  for (const std::string& part : parts)
    EXPECT_NE(text.find(part), std::string::npos) << part << "\nis not in: " << text;
  EXPECT_FALSE(text.ends_with('.')) << text;
}

}  // namespace mhcjit::test
