#include <cstdint>
#include <cstring>

#include "tests/fake_driver/fake_calls.h"

namespace fake {
namespace {

// Handles of streams and graphs are numbers that nothing stands behind.
std::uintptr_t last_handle = 0;

template <typename Handle>
void make(Handle* handle) {
  *handle = reinterpret_cast<Handle>(++last_handle);
}

struct Event {
  int milliseconds = 0;
};

// As long as two records of any events lie apart.
constexpr int milliseconds_between_records = 20;
int clock_milliseconds = 0;

CUresult mem_get_info(std::size_t* free, std::size_t* total) {
  FAKE_ENTER(cuMemGetInfo, initialised | context);
  // Little, so that what takes a share of it takes host memory that a test machine has.
  *free = *total = std::size_t{16} << 20;
  return CUDA_SUCCESS;
}

CUresult memset_bytes(CUdeviceptr to, unsigned char value, std::size_t bytes) {
  FAKE_ENTER(cuMemsetD8, initialised | context | no_capture);
  std::memset(reinterpret_cast<void*>(to), value, bytes);
  return CUDA_SUCCESS;
}

CUresult copy_on_device(CUdeviceptr to, CUdeviceptr from, std::size_t bytes, CUstream) {
  FAKE_ENTER(cuMemcpyDtoDAsync, initialised | context);
  std::memcpy(reinterpret_cast<void*>(to), reinterpret_cast<const void*>(from), bytes);
  return CUDA_SUCCESS;
}

CUresult stream_create(CUstream* stream, unsigned) {
  FAKE_ENTER(cuStreamCreate, initialised | context | no_capture);
  make(stream);
  return CUDA_SUCCESS;
}

CUresult stream_destroy(CUstream) {
  FAKE_ENTER(cuStreamDestroy, initialised);
  return CUDA_SUCCESS;
}

CUresult stream_synchronize(CUstream) {
  FAKE_ENTER(cuStreamSynchronize, initialised | context | no_capture);
  return CUDA_SUCCESS;
}

CUresult stream_begin_capture(CUstream stream, CUstreamCaptureMode) {
  FAKE_ENTER(cuStreamBeginCapture, initialised | context);
  state().begin_capture(stream);
  return CUDA_SUCCESS;
}

CUresult stream_end_capture(CUstream stream, CUgraph* graph) {
  FAKE_ENTER(cuStreamEndCapture, initialised | context);
  if (!state().end_capture(stream)) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  make(graph);
  return CUDA_SUCCESS;
}

CUresult graph_instantiate(CUgraphExec* executable, CUgraph, unsigned long long) {
  FAKE_ENTER(cuGraphInstantiateWithFlags, initialised | context);
  make(executable);
  return CUDA_SUCCESS;
}

CUresult graph_launch(CUgraphExec, CUstream) {
  FAKE_ENTER(cuGraphLaunch, initialised | context);
  return CUDA_SUCCESS;
}

CUresult graph_exec_destroy(CUgraphExec) {
  FAKE_ENTER(cuGraphExecDestroy, initialised);
  return CUDA_SUCCESS;
}

CUresult graph_destroy(CUgraph) {
  FAKE_ENTER(cuGraphDestroy, initialised);
  return CUDA_SUCCESS;
}

CUresult event_create(CUevent* event, unsigned) {
  FAKE_ENTER(cuEventCreate, initialised | context);
  *event = reinterpret_cast<CUevent>(new Event);
  return CUDA_SUCCESS;
}

CUresult event_destroy(CUevent event) {
  FAKE_ENTER(cuEventDestroy, initialised);
  delete reinterpret_cast<Event*>(event);
  return CUDA_SUCCESS;
}

CUresult event_record(CUevent event, CUstream) {
  FAKE_ENTER(cuEventRecord, initialised | context);
  reinterpret_cast<Event*>(event)->milliseconds = clock_milliseconds += milliseconds_between_records;
  return CUDA_SUCCESS;
}

// What is recorded has happened.
CUresult event_query(CUevent) {
  FAKE_ENTER(cuEventQuery, initialised);
  return CUDA_SUCCESS;
}

CUresult event_elapsed_time(float* milliseconds, CUevent begin, CUevent end) {
  FAKE_ENTER(cuEventElapsedTime, initialised);
  const int between = reinterpret_cast<Event*>(end)->milliseconds - reinterpret_cast<Event*>(begin)->milliseconds;
  *milliseconds = static_cast<float>(between);
  return CUDA_SUCCESS;
}

const Function functions[] = {
    {"cuMemGetInfo", address(mem_get_info)},
    {"cuMemsetD8", address(memset_bytes)},
    {"cuMemcpyDtoDAsync", address(copy_on_device)},
    {"cuStreamCreate", address(stream_create)},
    {"cuStreamDestroy", address(stream_destroy)},
    {"cuStreamSynchronize", address(stream_synchronize)},
    {"cuStreamBeginCapture", address(stream_begin_capture)},
    {"cuStreamEndCapture", address(stream_end_capture)},
    {"cuGraphInstantiateWithFlags", address(graph_instantiate)},
    {"cuGraphLaunch", address(graph_launch)},
    {"cuGraphExecDestroy", address(graph_exec_destroy)},
    {"cuGraphDestroy", address(graph_destroy)},
    {"cuEventCreate", address(event_create)},
    {"cuEventDestroy", address(event_destroy)},
    {"cuEventRecord", address(event_record)},
    {"cuEventQuery", address(event_query)},
    {"cuEventElapsedTime", address(event_elapsed_time)},
};

}  // namespace

std::span<const Function> stream_functions() { return functions; }

}  // namespace fake
