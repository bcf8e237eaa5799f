#include "bench/operator_bench.h"

#include <chrono>
#include <thread>

#include "bench/floor.h"

namespace mhcjit::bench {

OperatorResult bench_operator(const Run& run, const codegen::Problem& problem, std::int64_t tokens) {
  const std::unique_ptr<const InputSets> made = make_input_sets(run.gpu, run.engine, problem, tokens);
  const InputSets& sets = *made;
  const Enqueue rotating = [&](CUstream stream, int i) { sets.run(i % sets.count(), stream, /*overlaps=*/false); };
  const Enqueue overlapped = [&](CUstream stream, int i) { sets.run(i % sets.count(), stream, /*overlaps=*/true); };
  const Enqueue on_one = [&](CUstream stream, int) { sets.run(0, stream, /*overlaps=*/false); };
  OperatorResult result;
  result.bytes = floor_bytes(problem, tokens);
  result.floor_us = static_cast<double>(result.bytes) / run.copy_gigabytes_per_second * 1e-3;
  result.input_sets = sets.count();
  constexpr auto rest = std::chrono::milliseconds(300);
  constexpr double moment = 0.02;
  run.gpu.synchronize();
  std::this_thread::sleep_for(rest);
  result.brief = time_graph(run.gpu, rotating, sets.count(), moment);
  result.stream = time_launches(run.gpu, rotating, run.seconds);
  result.graph = time_graph(run.gpu, rotating, sets.count(), run.seconds);
  result.stream_warm = time_launches(run.gpu, on_one, run.seconds / 2);
  result.graph_warm = time_graph(run.gpu, on_one, 1, run.seconds / 2);
  result.graph_overlapped = time_graph(run.gpu, overlapped, sets.count(), run.seconds);
  result.errors = check_accuracy(sets);
  return result;
}

}  // namespace mhcjit::bench
