#include "tests/runtime/nvtx_listener.h"

#include <nvtx3/nvToolsExt.h>

#include <mutex>

namespace {

std::mutex mutex;
std::vector<std::string> lines;

void add(nvtxDomainHandle_t domain, const std::string& text) {
  const std::lock_guard lock(mutex);
  lines.push_back(*reinterpret_cast<const std::string*>(domain) + " " + text);
}

nvtxDomainHandle_t on_create(const char* name) {
  return reinterpret_cast<nvtxDomainHandle_t>(new std::string(name));  // for the rest of the process
}

int on_push(nvtxDomainHandle_t domain, const nvtxEventAttributes_t* attributes) {
  add(domain, std::string("push ") + attributes->message.ascii);
  return 0;
}

int on_pop(nvtxDomainHandle_t domain) {
  add(domain, "pop");
  return 0;
}

}  // namespace

const std::vector<std::string>* nvtx_listener_lines() { return &lines; }

extern "C" __attribute__((visibility("default"))) int InitializeInjectionNvtx2(NvtxGetExportTableFunc_t get_table) {
  const auto* callbacks = static_cast<const NvtxExportTableCallbacks*>(get_table(NVTX_ETID_CALLBACKS));
  NvtxFunctionTable functions = nullptr;
  unsigned int count = 0;
  if (callbacks == nullptr || callbacks->GetModuleFunctionTable(NVTX_CB_MODULE_CORE2, &functions, &count) == 0)
    return 0;
  *functions[NVTX_CBID_CORE2_DomainCreateA] = reinterpret_cast<NvtxFunctionPointer>(on_create);
  *functions[NVTX_CBID_CORE2_DomainRangePushEx] = reinterpret_cast<NvtxFunctionPointer>(on_push);
  *functions[NVTX_CBID_CORE2_DomainRangePop] = reinterpret_cast<NvtxFunctionPointer>(on_pop);
  return 1;
}
