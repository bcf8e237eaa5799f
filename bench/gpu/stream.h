// A stream of one's own, and graphs.
#pragma once

#include "bench/gpu/gpu.h"

namespace mhcjit::gpu {

class Stream {
 public:
  // Does not wait for the default stream, nor the default stream for it.
  explicit Stream(const Gpu& gpu) : gpu_(gpu) {
    gpu.driver.check(gpu.driver.cuStreamCreate(&stream_, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
  }
  ~Stream() { gpu_.driver.cuStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  operator CUstream() const { return stream_; }
  void synchronize() const { gpu_.synchronize(stream_); }

 private:
  const Gpu& gpu_;
  CUstream stream_ = nullptr;
};

// Captures the work that `enqueue` puts on a stream as a graph, which can be launched many times.
class Graph {
 public:
  template <typename Enqueue>
  Graph(const Gpu& gpu, const Enqueue& enqueue) : gpu_(gpu) {
    const Driver& driver = gpu.driver;
    const Stream stream(gpu);
    driver.check(driver.cuStreamBeginCapture(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), "cuStreamBeginCapture");
    enqueue(static_cast<CUstream>(stream));
    CUgraph graph = nullptr;
    driver.check(driver.cuStreamEndCapture(stream, &graph), "cuStreamEndCapture");
    const CUresult result = driver.cuGraphInstantiateWithFlags(&executable_, graph, 0);
    driver.cuGraphDestroy(graph);
    driver.check(result, "cuGraphInstantiateWithFlags");
  }
  ~Graph() { gpu_.driver.cuGraphExecDestroy(executable_); }
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch(CUstream stream) const {
    gpu_.driver.check(gpu_.driver.cuGraphLaunch(executable_, stream), "cuGraphLaunch");
  }

 private:
  const Gpu& gpu_;
  CUgraphExec executable_ = nullptr;
};

}  // namespace mhcjit::gpu
