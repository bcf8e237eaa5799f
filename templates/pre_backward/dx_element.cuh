// dx's elements are fp32 if the problem has fp32_dx, else they have the type of x.
#pragma once

template <class Element, bool is_fp32>
struct DxElementOf {
  using Type = Element;
};

template <class Element>
struct DxElementOf<Element, true> {
  using Type = float;
};

template <class Spec>
using DxElement = typename DxElementOf<typename Spec::Element, Spec::has_fp32_dx>::Type;
