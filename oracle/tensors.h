// The tensors of a call, listed once for every test, tool and benchmark that makes one.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string_view>

#include "mhcjit/mhcjit.h"
#include "oracle/pre.h"
#include "oracle/storage.h"

namespace mhcjit::oracle {

// `tensor` is a name of mhcjit/mhcjit.h.
inline mhcjit_dtype dtype_of(std::string_view tensor, DTypes dtypes) {
  const bool has_x_dtype =
      tensor == "x" || tensor == "h_in" || tensor == "dh_in" || (tensor == "dx" && !dtypes.fp32_dx);
  return has_x_dtype ? dtypes.x : MHCJIT_FP32;
}

enum class Use { input, output };

struct Tensor {
  const char* name;
  Use use;
  std::int64_t count;  // of numbers
};

// Calls visit(tensor, pointer) for every tensor of the call, gamma and dgamma only where the shape has gamma; `pointer`
// is the argument itself, of type const void*, const float*, void* or float*.
template <typename Visit>
void visit_tensors(const Shape& shape, mhcjit_pre_forward_args& args, const Visit& visit) {
  const std::int64_t T = shape.T, n = shape.n;
  visit(Tensor{"x", Use::input, T * shape.columns()}, args.x);
  visit(Tensor{"phi", Use::input, shape.rows() * shape.columns()}, args.phi);
  visit(Tensor{"alpha", Use::input, 3}, args.alpha);
  visit(Tensor{"bias", Use::input, shape.rows()}, args.bias);
  if (shape.has_gamma) visit(Tensor{"gamma", Use::input, shape.columns()}, args.gamma);
  visit(Tensor{"h_in", Use::output, T * shape.D}, args.h_in);
  visit(Tensor{"h_post", Use::output, T * n}, args.h_post);
  visit(Tensor{"h_res", Use::output, T * n * n}, args.h_res);
  visit(Tensor{"inv_rms", Use::output, T}, args.inv_rms);
  visit(Tensor{"h_mix", Use::output, T * shape.rows()}, args.h_mix);
  visit(Tensor{"h_pre", Use::output, T * n}, args.h_pre);
}

template <typename Visit>
void visit_tensors(const Shape& shape, mhcjit_pre_backward_args& args, const Visit& visit) {
  const std::int64_t T = shape.T, n = shape.n;
  visit(Tensor{"x", Use::input, T * shape.columns()}, args.x);
  visit(Tensor{"phi", Use::input, shape.rows() * shape.columns()}, args.phi);
  visit(Tensor{"alpha", Use::input, 3}, args.alpha);
  if (shape.has_gamma) visit(Tensor{"gamma", Use::input, shape.columns()}, args.gamma);
  visit(Tensor{"inv_rms", Use::input, T}, args.inv_rms);
  visit(Tensor{"h_mix", Use::input, T * shape.rows()}, args.h_mix);
  visit(Tensor{"h_pre", Use::input, T * n}, args.h_pre);
  visit(Tensor{"h_post", Use::input, T * n}, args.h_post);
  visit(Tensor{"dh_in", Use::input, T * shape.D}, args.dh_in);
  visit(Tensor{"dh_post", Use::input, T * n}, args.dh_post);
  visit(Tensor{"dh_res", Use::input, T * n * n}, args.dh_res);
  visit(Tensor{"dx", Use::output, T * shape.columns()}, args.dx);
  visit(Tensor{"dphi", Use::output, shape.rows() * shape.columns()}, args.dphi);
  if (shape.has_gamma) visit(Tensor{"dgamma", Use::output, shape.columns()}, args.dgamma);
  visit(Tensor{"dalpha", Use::output, 3}, args.dalpha);
  visit(Tensor{"dbias", Use::output, shape.rows()}, args.dbias);
}

// Points an argument at memory of any type.
template <typename Pointer>
void point(Pointer& argument, const void* memory) {
  argument = static_cast<Pointer>(const_cast<void*>(memory));
}

// The values of a call's inputs by their names; those of an absent tensor are empty.
using Values = std::map<std::string_view, std::span<const double>>;

inline Values values_of(const Inputs& inputs) {
  return {
      {"x", inputs.x}, {"phi", inputs.phi}, {"alpha", inputs.alpha}, {"bias", inputs.bias}, {"gamma", inputs.gamma}};
}

inline Values values_of(const OutputGradients& gradients) {
  return {{"dh_in", gradients.dh_in}, {"dh_post", gradients.dh_post}, {"dh_res", gradients.dh_res}};
}

// The tensors of forward that backward reads, as a device has saved them: values_of(name) has each tensor's values.
template <typename ValuesOf>
Forward saved_by_forward(const ValuesOf& values_of) {
  Forward saved;
  saved.inv_rms = values_of("inv_rms");
  saved.h_mix = values_of("h_mix");
  saved.h_pre = values_of("h_pre");
  saved.h_post = values_of("h_post");
  return saved;
}

// The values of backward.
inline Values values_of(const Inputs& inputs, const Forward& saved, const OutputGradients& gradients) {
  Values values = values_of(inputs);
  values.merge(values_of(gradients));
  values.merge(
      Values{{"inv_rms", saved.inv_rms}, {"h_mix", saved.h_mix}, {"h_pre", saved.h_pre}, {"h_post", saved.h_post}});
  return values;
}

}  // namespace mhcjit::oracle
