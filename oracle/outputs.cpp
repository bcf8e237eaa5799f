#include "oracle/outputs.h"

namespace mhcjit::oracle {

std::vector<Reference> outputs_of(const Shape& shape, const Forward& forward) {
  return {{"h_in", forward.h_in, shape.D},
          {"h_post", forward.h_post, shape.n},
          {"h_res", forward.h_res, std::int64_t{shape.n} * shape.n, 0.5 * forward.h_res_terms},
          {"inv_rms", forward.inv_rms, 1},
          {"h_mix", forward.h_mix, shape.rows()},
          {"h_pre", forward.h_pre, shape.n}};
}

std::vector<Reference> outputs_of(const Shape& shape, const Backward& backward) {
  std::vector<Reference> outputs = {{"dx", backward.dx, shape.columns()}, {"dphi", backward.dphi}};
  if (shape.has_gamma) outputs.push_back({"dgamma", backward.dgamma});
  outputs.push_back({"dalpha", backward.dalpha, 0, 1e-3 * backward.dalpha_terms});
  outputs.push_back({"dbias", backward.dbias});
  return outputs;
}

}  // namespace mhcjit::oracle
