#include "bench/plan_calls.h"

#include <cstring>
#include <utility>
#include <vector>

#include "bench/value_or_throw.h"

namespace mhcjit::bench {
namespace {

std::vector<runtime::LoadedBucket> buckets_of(LoadedPlan& loaded) {
  std::vector<runtime::LoadedBucket> buckets;
  buckets.push_back(std::move(loaded.bucket));
  return buckets;
}

}  // namespace

PlanCalls::PlanCalls(const gpu::Gpu& gpu, const InputSets& sets, LoadedPlan loaded)
    : sets_(sets),
      operator_(loaded.driver, loaded.device, sets.problem(), buckets_of(loaded)),
      workspace_bytes_(value_or_throw(operator_.workspace_bytes(sets.tokens()))),
      workspace_(gpu, workspace_bytes_, 256) {}

void PlanCalls::run(int set, CUstream stream) const {
  const codegen::Operator& op = *sets_.problem().op;
  const auto* const given = static_cast<const std::byte*>(sets_.call(set).arguments());
  std::vector<std::byte> args(given, given + op.arguments.bytes);
  void* const workspace = workspace_.as();
  std::memcpy(args.data() + op.arguments.workspace, &workspace, sizeof workspace);
  std::memcpy(args.data() + op.arguments.workspace_bytes, &workspace_bytes_, sizeof workspace_bytes_);
  throw_if(operator_.run(op.id, args.data(), stream));
}

}  // namespace mhcjit::bench
