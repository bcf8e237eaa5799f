#include "runtime/profiler_range.h"

#ifdef MHCJIT_HAS_NVTX
#include <fmt/format.h>
#include <nvtx3/nvToolsExt.h>
#endif

namespace mhcjit::runtime {
namespace {

#ifdef MHCJIT_HAS_NVTX

// nullptr where no tool listens.
nvtxDomainHandle_t domain() {
  static const nvtxDomainHandle_t made = nvtxDomainCreateA("mhcjit");
  return made;
}

bool push(const char* step, const std::string& problem) {
  if (domain() == nullptr) [[likely]]
    return false;
  const std::string text = fmt::format("{} {}", step, problem);
  nvtxEventAttributes_t attributes = {};
  attributes.version = NVTX_VERSION;
  attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
  attributes.message.ascii = text.c_str();
  nvtxDomainRangePushEx(domain(), &attributes);
  return true;
}

void pop() { nvtxDomainRangePop(domain()); }

#else

bool push(const char*, const std::string&) { return false; }
void pop() {}

#endif

}  // namespace

ProfilerRange::ProfilerRange(const char* step, const std::string& problem) : pushed_(push(step, problem)) {}

ProfilerRange::~ProfilerRange() {
  if (pushed_) pop();
}

}  // namespace mhcjit::runtime
