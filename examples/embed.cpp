// A host application: the mHC "pre" operator forward and backward, on GPU 0 where there is one, else on the CPU. It
// links the installed package and needs nothing of CUDA's to build. fp32 keeps it short; models use MHCJIT_BF16.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

#include "mhcjit/memory.h"
#include "mhcjit/mhcjit.hpp"

namespace {

void require(const mhcjit::Status& status) {
  if (status.ok()) return;
  std::fprintf(stderr, "%s: %s\n", status.name(), status.text().c_str());
  std::exit(1);
}
void require(mhcjit_status code) { require(mhcjit::Status::of_call(code)); }

template <class T>
T value_of(const mhcjit::Result<T>& result) {
  require(result.status());
  return *result;
}

// How many GPUs there are. Asked once; the first one becomes this thread's device.
int gpu_count() {
  static const int count = [] {
    int32_t found = 0;
    require(mhcjit_device_count(&found));
    if (found > 0) require(mhcjit_device_open(0));
    return found;
  }();
  return count;
}

// fp32 values where the operator runs. A program that has CUDA passes its own pointers instead.
class Tensor {
 public:
  explicit Tensor(std::vector<float> values) : host_(std::move(values)), data_(host_.data()) {
    if (gpu_count() == 0) return;
    require(mhcjit_memory_allocate(bytes(), &data_));
    require(mhcjit_memory_copy_to_device(data_, host_.data(), bytes()));
  }
  explicit Tensor(std::size_t size) : Tensor(std::vector<float>(size)) {}
  Tensor(const Tensor&) = delete;
  ~Tensor() {
    if (gpu_count() > 0) mhcjit_memory_free(data_);
  }

  std::size_t bytes() const { return host_.size() * sizeof(float); }
  operator float*() { return static_cast<float*>(data_); }

  // The name, the first, the middle and the last value.
  void print(const char* name) {
    if (gpu_count() > 0) require(mhcjit_memory_copy_to_host(host_.data(), data_, bytes()));
    std::printf("%-7s %.9g %.9g %.9g\n", name, host_.front(), host_[host_.size() / 2], host_.back());
  }

 private:
  std::vector<float> host_;
  void* data_;
};

std::vector<float> random_values(std::size_t size, float largest) {
  static std::mt19937 generator(20251224);
  std::vector<float> values(size);
  for (float& value : values) value = largest * (static_cast<float>(generator() >> 8) * 0x1p-23F - 1.0F);
  return values;
}

}  // namespace

int main() {
  constexpr int n = 4, D = 256, T = 64, M = n * n + 2 * n;
  const mhcjit_device device = gpu_count() > 0 ? MHCJIT_DEVICE_GPU : MHCJIT_DEVICE_CPU;
  std::printf("mhcjit %s on %s\n", mhcjit_version(), gpu_count() > 0 ? "GPU 0" : "the CPU");

  // Once for each shape: kernels are generated and compiled, or found in the cache.
  auto engine = mhcjit::Engine::create();
  require(engine.status());
  const auto forward =
      value_of(engine->prepare({.op = MHCJIT_PRE_FORWARD, .n = n, .d = D, .dtype = MHCJIT_FP32}, device));
  const auto backward =
      value_of(engine->prepare({.op = MHCJIT_PRE_BACKWARD, .n = n, .d = D, .dtype = MHCJIT_FP32}, device));
  const std::size_t workspace_bytes =
      std::max(value_of(forward.workspace_bytes(T)), value_of(backward.workspace_bytes(T)));
  Tensor workspace(workspace_bytes / sizeof(float) + 1);

  Tensor x(random_values(T * n * D, 2)), phi(random_values(M * n * D, 0.05F)), bias(random_values(M, 0.2F));
  Tensor alpha({1.1F, 0.9F, 1.05F}), h_in(T * D), h_post(T * n), h_res(T * n * n);
  Tensor inv_rms(T), h_mix(T * M), h_pre(T * n);  // saved for backward
  mhcjit_pre_forward_args to = {};
  to.x = x, to.phi = phi, to.alpha = alpha, to.bias = bias;
  to.T = T, to.norm_eps = to.hc_eps = 1e-6F;
  to.h_in = h_in, to.h_post = h_post, to.h_res = h_res, to.inv_rms = inv_rms, to.h_mix = h_mix, to.h_pre = h_pre;
  to.workspace = workspace, to.workspace_bytes = workspace.bytes();
  require(forward.pre_forward(to));

  Tensor dh_in(random_values(T * D, 1)), dh_post(random_values(T * n, 1)), dh_res(random_values(T * n * n, 1));
  Tensor dx(T * n * D), dphi(M * n * D), dalpha(3), dbias(M);
  mhcjit_pre_backward_args back = {};
  back.x = x, back.phi = phi, back.alpha = alpha;
  back.inv_rms = inv_rms, back.h_mix = h_mix, back.h_pre = h_pre, back.h_post = h_post;
  back.dh_in = dh_in, back.dh_post = dh_post, back.dh_res = dh_res;
  back.T = T, back.hc_eps = to.hc_eps, back.post_mult = to.post_mult;
  back.dx = dx, back.dphi = dphi, back.dalpha = dalpha, back.dbias = dbias;
  back.workspace = workspace, back.workspace_bytes = workspace.bytes();
  require(backward.pre_backward(back));

  h_in.print("h_in"), h_post.print("h_post"), h_res.print("h_res");
  dx.print("dx"), dphi.print("dphi"), dalpha.print("dalpha"), dbias.print("dbias");
}
