#include "problems.h"

#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringRef.h>

#include "codegen/candidates.h"
#include "codegen/heuristic.h"
#include "support/error.h"

namespace mhcjit::sim {
namespace {

llvm::Error bad_name(std::string_view name) {
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "problem is '{}', allowed: nN_dD_DTYPE[_gamma][_cC_tT[_pP_gG][_sS]|_wW_rR|_gR[_sS]|_fC_kK]", name);
}

llvm::Expected<codegen::KernelSpec> one_pass_spec(codegen::Problem problem, int cluster_size, int tokens_per_tile,
                                                  int panel_columns, int row_groups) {
  problem.architecture = {9, 0, 'a'};
  for (const codegen::Candidate& candidate : candidates(problem, codegen::KernelTemplate::one_pass))
    if (candidate.legal() && candidate.spec.cluster_size == cluster_size &&
        candidate.spec.tokens_per_tile == tokens_per_tile && candidate.spec.panel_columns == panel_columns &&
        candidate.spec.row_groups == row_groups)
      return candidate.spec;
  return make_error(
      MHCJIT_ERROR_INVALID_ARGUMENT,
      "{}: no one-pass spec with clusters of {}, tiles of {} tokens, panels of {} columns and {} row groups",
      to_string(problem), cluster_size, tokens_per_tile, panel_columns, row_groups);
}

// A block of many tokens takes as long to simulate however few there are.
llvm::Expected<codegen::KernelSpec> portable_spec(const codegen::Problem& problem) {
  const codegen::KernelSpec* fewest = nullptr;
  const std::vector<codegen::Candidate> all = candidates(problem);
  for (const codegen::Candidate& candidate : all)
    if (candidate.legal() && (fewest == nullptr || candidate.spec.tokens_per_warp < fewest->tokens_per_warp))
      fewest = &candidate.spec;
  return *fewest;
}

llvm::Expected<codegen::KernelSpec> portable_spec(const codegen::Problem& problem, int tokens_per_warp,
                                                  int row_blocks) {
  for (const codegen::Candidate& candidate : candidates(problem, codegen::KernelTemplate::portable))
    if (candidate.legal() && candidate.spec.tokens_per_warp == tokens_per_warp &&
        candidate.spec.row_blocks == row_blocks)
      return candidate.spec;
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: no portable spec with {} tokens a warp and {} blocks of rows",
                    to_string(problem), tokens_per_warp, row_blocks);
}

llvm::Expected<codegen::KernelSpec> wgmma_spec(codegen::Problem problem, int row_blocks) {
  problem.architecture = {9, 0, 'a'};
  for (const codegen::Candidate& candidate : candidates(problem, codegen::KernelTemplate::portable))
    if (candidate.legal() && candidate.spec.uses_wgmma != 0 && candidate.spec.row_blocks == row_blocks)
      return candidate.spec;
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT, "{}: no spec of warp groups with {} blocks of rows",
                    to_string(problem), row_blocks);
}

llvm::Expected<codegen::KernelSpec> few_tokens_spec(codegen::Problem problem, int cluster_size, int chunks_per_warp) {
  problem.architecture = {9, 0, 'a'};
  for (const codegen::Candidate& candidate : candidates(problem, codegen::KernelTemplate::few_tokens))
    if (candidate.legal() && candidate.spec.few_cluster_size == cluster_size &&
        candidate.spec.few_chunks_per_warp == chunks_per_warp)
      return candidate.spec;
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "{}: no spec for few tokens with clusters of {} and {} chunks a warp", to_string(problem),
                    cluster_size, chunks_per_warp);
}

}  // namespace

llvm::Expected<codegen::KernelSpec> parse_spec(std::string_view name, codegen::Op op) {
  codegen::Problem problem;
  problem.op = op;
  problem.architecture = {8, 0, 0};
  problem.batch_invariant = true;

  llvm::SmallVector<llvm::StringRef> split;
  llvm::StringRef(name).split(split, '_');
  llvm::ArrayRef<llvm::StringRef> parts = split;
  const auto take_number = [&](llvm::StringRef letter, auto& number) {
    if (parts.empty()) return false;
    llvm::StringRef part = parts.front();
    if (!part.consume_front(letter) || part.getAsInteger(10, number)) return false;
    parts = parts.drop_front();
    return true;
  };
  if (!take_number("n", problem.n) || !take_number("d", problem.d) || parts.empty()) return bad_name(name);
  auto dtype = codegen::parse_dtype(std::string_view(parts.front()));
  if (!dtype) return dtype.takeError();
  problem.dtype = *dtype;
  parts = parts.drop_front();
  problem.has_gamma = !parts.empty() && parts.front() == "gamma";
  if (problem.has_gamma) parts = parts.drop_front();
  if (auto error = codegen::check(problem)) return error;
  if (parts.empty() && op == codegen::Op::pre_forward) return portable_spec(problem);
  if (parts.empty()) return codegen::choose_spec(problem, codegen::KernelTemplate::portable);

  int tokens_per_warp = 0;
  int row_blocks = 0;
  if (take_number("w", tokens_per_warp)) {
    if (!take_number("r", row_blocks) || !parts.empty()) return bad_name(name);
    return portable_spec(problem, tokens_per_warp, row_blocks);
  }
  if (take_number("g", row_blocks)) {
    llvm::Expected<codegen::KernelSpec> spec = wgmma_spec(problem, row_blocks);
    if (!spec || parts.empty()) return spec;
    if (!take_number("s", spec->pipeline_stages) || !parts.empty()) return bad_name(name);
    return spec;
  }
  int cluster_size = 0;
  int chunks_per_warp = 0;
  if (take_number("f", cluster_size)) {
    if (!take_number("k", chunks_per_warp)) return bad_name(name);
    llvm::Expected<codegen::KernelSpec> spec = few_tokens_spec(problem, cluster_size, chunks_per_warp);
    if (!spec || parts.empty()) return spec;
    if (!take_number("s", spec->few_stages) || !parts.empty()) return bad_name(name);
    return spec;
  }
  int tokens_per_tile = 0;
  if (!take_number("c", cluster_size) || !take_number("t", tokens_per_tile)) return bad_name(name);
  int panel_columns = 128 / codegen::bytes_of(problem.dtype);
  int row_groups = 1;
  if (take_number("p", panel_columns) && !take_number("g", row_groups)) return bad_name(name);
  llvm::Expected<codegen::KernelSpec> spec =
      one_pass_spec(problem, cluster_size, tokens_per_tile, panel_columns, row_groups);
  if (!spec || parts.empty()) return spec;
  if (!take_number("s", spec->pipeline_stages) || !parts.empty()) return bad_name(name);
  return spec;
}

}  // namespace mhcjit::sim
