#include "runtime/profiler_range.h"

#ifdef MHCJIT_HAS_NVTX

#include <fmt/format.h>
#include <nvtx3/nvToolsExt.h>

namespace mhcjit::runtime {
namespace {

// nullptr where no tool listens.
nvtxDomainHandle_t domain() {
  static const nvtxDomainHandle_t made = nvtxDomainCreateA("mhcjit");
  return made;
}

}  // namespace

ProfilerRange::ProfilerRange(const char* step, const std::string& problem) : pushed_(domain() != nullptr) {
  if (!pushed_) [[likely]]
    return;
  const std::string text = fmt::format("{} {}", step, problem);
  nvtxEventAttributes_t attributes = {};
  attributes.version = NVTX_VERSION;
  attributes.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
  attributes.messageType = NVTX_MESSAGE_TYPE_ASCII;
  attributes.message.ascii = text.c_str();
  nvtxDomainRangePushEx(domain(), &attributes);
}

ProfilerRange::~ProfilerRange() {
  if (pushed_) nvtxDomainRangePop(domain());
}

}  // namespace mhcjit::runtime

#else

namespace mhcjit::runtime {

ProfilerRange::ProfilerRange(const char*, const std::string&) : pushed_(false) {}
ProfilerRange::~ProfilerRange() = default;

}  // namespace mhcjit::runtime

#endif
