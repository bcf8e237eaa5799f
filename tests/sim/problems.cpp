#include "problems.h"

#include <llvm/ADT/SmallVector.h>
#include <llvm/ADT/StringRef.h>

#include "codegen/candidates.h"
#include "codegen/heuristic.h"
#include "support/error.h"

namespace mhcjit::sim {
namespace {

llvm::Error bad_name(std::string_view name) {
  return make_error(
      MHCJIT_ERROR_INVALID_ARGUMENT,
      "problem is '{}', allowed: nN_dD_DTYPE[_gamma][_cC_tT[_pP_gG][_sS]|_wW_rR[_cC[_xX]]|_gR[_cC[_xX]][_sS]|_fC_kK]",
      name);
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

// Of clusters of that many blocks, or of none; where they are wide, for every T.
llvm::Expected<codegen::KernelSpec> projection_spec(codegen::Problem problem, bool uses_wgmma, int tokens_per_warp,
                                                    int row_blocks, int cluster_size, int wide_cluster_size) {
  if (uses_wgmma || cluster_size != 0) problem.architecture = {9, 0, 'a'};
  const auto kernel_template =
      cluster_size != 0 ? codegen::KernelTemplate::two_pass : codegen::KernelTemplate::portable;
  for (const codegen::Candidate& candidate : candidates(problem, kernel_template))
    if (candidate.legal() && (candidate.spec.uses_wgmma != 0) == uses_wgmma &&
        candidate.spec.tokens_per_warp == tokens_per_warp && candidate.spec.row_blocks == row_blocks &&
        candidate.spec.cluster_size == cluster_size) {
      codegen::KernelSpec spec = candidate.spec;
      spec.wide_cluster_size = wide_cluster_size;
      spec.wide_max_tokens = wide_cluster_size != 0 ? codegen::max_tokens : 0;
      return spec;
    }
  return make_error(MHCJIT_ERROR_INVALID_ARGUMENT,
                    "{}: no {} spec{} with {} tokens a warp, {} blocks of rows and clusters of {}", to_string(problem),
                    codegen::to_string(kernel_template), uses_wgmma ? " of warp groups" : "", tokens_per_warp,
                    row_blocks, cluster_size);
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
  int cluster_size = 0;
  int wide_cluster_size = 0;
  const auto take_clusters = [&] {
    if (take_number("c", cluster_size)) take_number("x", wide_cluster_size);
  };
  if (take_number("w", tokens_per_warp)) {
    if (!take_number("r", row_blocks)) return bad_name(name);
    take_clusters();
    if (!parts.empty()) return bad_name(name);
    return projection_spec(problem, /*uses_wgmma=*/false, tokens_per_warp, row_blocks, cluster_size, wide_cluster_size);
  }
  if (take_number("g", row_blocks)) {
    take_clusters();
    constexpr int tokens_of_wgmma = 16;
    llvm::Expected<codegen::KernelSpec> spec =
        projection_spec(problem, /*uses_wgmma=*/true, tokens_of_wgmma, row_blocks, cluster_size, wide_cluster_size);
    if (!spec || parts.empty()) return spec;
    if (!take_number("s", spec->pipeline_stages) || !parts.empty()) return bad_name(name);
    return spec;
  }
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
