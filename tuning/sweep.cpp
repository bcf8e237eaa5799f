#include "tuning/sweep.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <deque>
#include <map>
#include <mutex>
#include <set>

#include <fmt/chrono.h>
#include <llvm/ADT/STLExtras.h>

#include "mhcjit/mhcjit.h"
#include "support/threads.h"
#include "tuning/decide.h"
#include "tuning/probe.h"
#include "tuning/record_file.h"

namespace mhcjit::tuning {
namespace {

using codegen::Outcome;
using codegen::Problem;
using codegen::RecordHeader;
using codegen::Trial;
using Clock = std::chrono::steady_clock;

RecordHeader header_of(const Machine& machine, const std::string& nvrtc) {
  return {mhcjit_version(),
          space_digest(machine.architecture),
          machine.device,
          machine.architecture,
          machine.multiprocessors,
          machine.driver,
          nvrtc,
          std::round(machine.copy_gigabytes_per_second * 10) / 10,
          fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)))};
}

llvm::Error check_alike(const std::vector<Machine>& machines, const std::vector<int>& devices) {
  for (std::size_t i = 1; i < machines.size(); ++i)
    if (machines[i].device != machines[0].device || machines[i].multiprocessors != machines[0].multiprocessors)
      return make_error(
          MHCJIT_ERROR_INVALID_ARGUMENT,
          "device {} is {} with {} multiprocessors, device {} is {} with {}, allowed: devices of one kind", devices[0],
          machines[0].device, machines[0].multiprocessors, devices[i], machines[i].device, machines[i].multiprocessors);
  return llvm::Error::success();
}

llvm::Expected<std::vector<Row>> asked_rows(const Request& request, const codegen::Architecture& architecture) {
  std::vector<codegen::SizedProblem> shapes = request.shapes;
  for (codegen::SizedProblem& shape : shapes) shape.problem.architecture = architecture;
  auto all = rows_of(shapes, request.pruning);
  if (!all) return all.takeError();
  std::vector<Row> rows;
  for (std::size_t i = request.shard.index; i < all->size(); i += request.shard.count)
    rows.push_back(std::move((*all)[i]));
  return rows;
}

// The state that the threads of the devices share.
class Sweep {
 public:
  Sweep(const Request& request, const std::vector<Row>& rows, const Compiler& compiler, RecordFile& file,
        const std::atomic<bool>& stop, const std::function<void(const Progress&)>& report)
      : request_(request),
        rows_(rows),
        file_(file),
        stop_(stop),
        report_(report),
        start_(Clock::now()),
        trials_(file.before().trials),
        choices_(file.before().choices) {
    for (std::size_t i = 0; i < rows.size(); ++i) waiting_.push_back(i);
    for (const Row& row : rows) summary_.pruned += row.pruned;
    summary_.header = file.before().header;
    summary_.rows = rows.size();
    ahead_.emplace(compiler, untried_plans(), request.compile_threads);
  }

  // Tries rows until none is left.
  void work(Worker& worker) {
    while (const auto row = next_row()) {
      const auto deadline = deadline_of_row();
      std::map<std::size_t, std::size_t> places;  // each candidate's next trial
      const bool is_done = sweep_row(rows_[*row], request_.halving, [&](std::size_t candidate) {
        return trial_of(worker, *row, candidate, places[candidate]++, deadline);
      });
      if (auto error = end_row(*row, is_done)) fail(std::move(error));
    }
  }

  llvm::Expected<Summary> take() {
    ahead_.reset();
    if (failure_) return make_error(failure_->status, "{}", failure_->text);
    for (const Row& row : rows_)
      if (auto error = conclude(row.shape.problem)) return error;
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const std::vector<Trial> trials = of_row(rows_[i]);
      summary_.trials += trials.size();
      const auto is_right = [](const Trial& trial) { return trial.outcome == Outcome::measured; };
      if (done_.contains(i) && llvm::none_of(trials, is_right))
        summary_.failures.push_back(fmt::format("{}: none of its plans is right", to_string(rows_[i].shape)));
    }
    summary_.is_out_of_time = !summary_.is_done() && !stop_ && is_out_of_time();
    return std::move(summary_);
  }

 private:
  using Lock = std::lock_guard<std::recursive_mutex>;

  bool is_over() const { return stop_ || failure_ || is_out_of_time(); }
  bool is_out_of_time() const { return request_.budget && Clock::now() - start_ >= *request_.budget; }

  std::optional<std::size_t> next_row() {
    const Lock lock(mutex_);
    if (waiting_.empty() || is_over()) return std::nullopt;
    const std::size_t row = waiting_.front();
    waiting_.pop_front();
    ++under_way_;
    return row;
  }

  // Each row has its share of the time, and what it leaves over goes to the others.
  std::optional<Clock::time_point> deadline_of_row() {
    if (!request_.budget) return std::nullopt;
    const Lock lock(mutex_);
    const auto left = start_ + *request_.budget - Clock::now();
    return Clock::now() + left * under_way_ / (waiting_.size() + under_way_);
  }

  std::vector<Trial> of_row(const Row& row) const {
    std::vector<Trial> found;
    llvm::copy_if(trials_, std::back_inserter(found), [&](const Trial& trial) {
      return trial.tokens == row.shape.tokens && trial.problem == row.shape.problem;
    });
    return found;
  }

  // The plans stand in the order in which they are needed.
  std::vector<codegen::PlanPtr> untried_plans() const {
    std::vector<codegen::PlanPtr> plans;
    std::set<codegen::PlanPtr> known;
    for (const Row& row : rows_) {
      std::set<std::string> tried;
      for (const Trial& trial : of_row(row)) tried.insert(trial.plan);
      for (const codegen::PlanPtr& plan : row.candidates)
        if (!tried.contains(codegen::to_string(*plan)) && known.insert(plan).second) plans.push_back(plan);
    }
    return plans;
  }

  std::optional<Trial> trial_of(Worker& worker, std::size_t index, std::size_t candidate, std::size_t place,
                                std::optional<Clock::time_point> deadline) {
    const Row& row = rows_[index];
    const std::string plan = codegen::to_string(*row.candidates[candidate]);
    {
      const Lock lock(mutex_);
      for (const Trial& trial : of_row(row))
        if (trial.plan == plan && place-- == 0) return trial;
      if (is_over() || (deadline && Clock::now() >= *deadline)) return std::nullopt;
    }
    auto trial = make_trial(worker, index, candidate);
    if (!trial) {
      fail(trial.takeError());
      return std::nullopt;
    }
    if (*trial)
      if (auto error = keep(row, **trial)) {
        fail(std::move(error));
        return std::nullopt;
      }
    return *trial;
  }

  // Returns nothing if the attempt says nothing of the plan.
  llvm::Expected<std::optional<Trial>> make_trial(Worker& worker, std::size_t index, std::size_t candidate) {
    const Row& row = rows_[index];
    const codegen::PlanPtr& plan = row.candidates[candidate];
    Trial trial = {row.shape.problem, row.shape.tokens, codegen::to_string(*plan)};
    const Compiled compiled = ahead_->get(plan);
    if (compiled.failure) {
      if (compiled.failure->status != MHCJIT_ERROR_COMPILATION_FAILED) {
        no_row(index, compiled.failure->text);
        return std::nullopt;
      }
      trial.outcome = Outcome::compile_failed;
      trial.reason = compiled.failure->text;
      return trial;
    }
    if (compiled.spill_bytes > 0) {
      trial.outcome = Outcome::spills;
      trial.reason = fmt::format("a thread stores and loads {} bytes of registers", compiled.spill_bytes);
      return trial;
    }
    auto attempt = worker.attempt(index, candidate, request_.limits);
    if (!attempt) return attempt.takeError();
    if (attempt->has_no_row) {
      no_row(index, attempt->reason);
      return std::nullopt;
    }
    trial.outcome = attempt->outcome;
    trial.reason = attempt->reason;
    if (trial.outcome != Outcome::measured) return trial;
    trial.us = rounded(attempt->timing.us);
    trial.spread_us = rounded(attempt->timing.spread_us);
    trial.samples = attempt->timing.samples;
    trial.sm_mhz = attempt->timing.sm_mhz;
    trial.floor_ratio = rounded(trial.us / floor_of(row));
    return trial;
  }

  double floor_of(const Row& row) const { return floor_us(row, summary_.header.copy_gigabytes_per_second); }

  llvm::Error keep(const Row& row, const Trial& trial) {
    const Lock lock(mutex_);
    if (auto error = file_.append(to_line(trial))) return error;
    trials_.push_back(trial);
    ++summary_.new_trials;
    Progress progress = {summary_.rows, summary_.rows_done,   found_done_, &row, &trial, 0,
                         floor_of(row), Clock::now() - start_};
    for (const Trial& known : of_row(row))
      if (known.outcome == Outcome::measured && (progress.best_us == 0 || known.us < progress.best_us))
        progress.best_us = known.us;
    report_(progress);
    return llvm::Error::success();
  }

  void no_row(std::size_t index, const std::string& reason) {
    const Lock lock(mutex_);
    failed_.insert(index);
    summary_.failures.push_back(fmt::format("{}: {}", to_string(rows_[index].shape), reason));
  }

  // Counts a row, or puts it back if its share of the time was not enough.
  llvm::Error end_row(std::size_t index, bool is_done) {
    const Lock lock(mutex_);
    --under_way_;
    if (!is_done) {
      if (!failed_.contains(index)) waiting_.push_back(index);
      return llvm::Error::success();
    }
    ++summary_.rows_done;
    if (summary_.new_trials == 0) ++found_done_;
    done_.insert(index);
    const Problem& problem = rows_[index].shape.problem;
    for (std::size_t i = 0; i < rows_.size(); ++i)
      if (rows_[i].shape.problem == problem && !done_.contains(i)) return llvm::Error::success();
    return conclude(problem);
  }

  // Appends the problem's choice, unless it is the record's.
  llvm::Error conclude(const Problem& problem) {
    const Lock lock(mutex_);
    std::vector<Trial> of_problem;
    llvm::copy_if(trials_, std::back_inserter(of_problem),
                  [&](const Trial& trial) { return trial.problem == problem; });
    auto choice = decide(problem, of_problem);
    if (!choice) return llvm::Error::success();
    const auto is_its = [&](const codegen::TunedChoice& known) { return known.problem == problem; };
    llvm::erase_if(summary_.choices, is_its);
    summary_.choices.push_back(*choice);
    const auto known = llvm::find_if(choices_, is_its);
    if (known != choices_.end() && *known == *choice) return llvm::Error::success();
    if (known != choices_.end()) choices_.erase(known);
    choices_.push_back(*choice);
    return file_.append(to_line(*choice));
  }

  void fail(llvm::Error error) {
    const Lock lock(mutex_);
    Failure failure = take_failure(std::move(error));
    if (!failure_) failure_ = std::move(failure);
  }

  const Request& request_;
  const std::vector<Row>& rows_;
  RecordFile& file_;
  const std::atomic<bool>& stop_;
  const std::function<void(const Progress&)>& report_;
  const Clock::time_point start_;
  std::recursive_mutex mutex_;
  std::deque<std::size_t> waiting_;
  std::size_t under_way_ = 0;
  std::size_t found_done_ = 0;
  std::set<std::size_t> done_, failed_;
  std::vector<Trial> trials_;
  std::vector<codegen::TunedChoice> choices_;
  std::optional<Failure> failure_;
  Summary summary_;
  std::optional<CompileAhead> ahead_;
};

}  // namespace

llvm::Expected<Summary> sweep(const Request& request, const Kit& kit, const std::atomic<bool>& stop,
                              const std::function<void(const Progress&)>& report) {
  auto machines = probe(kit.make_timer, request.devices);
  if (!machines) return machines.takeError();
  if (auto error = check_alike(*machines, request.devices)) return error;
  auto nvrtc = kit.find_compiler(machines->front().architecture);
  if (!nvrtc) return nvrtc.takeError();
  auto rows = asked_rows(request, machines->front().architecture);
  if (!rows) return rows.takeError();

  // The processes are forks of this one, so that they come before any thread.
  std::vector<Worker> workers;
  for (const int device : request.devices) {
    auto worker = Worker::start(kit.make_timer, device, *rows);
    if (!worker) return worker.takeError();
    workers.push_back(std::move(*worker));
  }
  auto file = RecordFile::open(request.record, header_of(machines->front(), *nvrtc));
  if (!file) return file.takeError();

  const Compiler compiler = kit.make_compiler();
  Sweep sweep(request, *rows, compiler, *file, stop, report);
  const auto count = static_cast<std::int64_t>(workers.size());
  parallel_for(count, static_cast<unsigned>(count),
               [&](std::int64_t i) { sweep.work(workers[static_cast<std::size_t>(i)]); });
  return sweep.take();
}

}  // namespace mhcjit::tuning
