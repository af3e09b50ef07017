// What formulas need to be written once for a number and for a vector whose lanes are computed side by side. Vectors
// are those of simd.h, which adds their functions. `mask ? a : b` works for both; a mask is a bool or a vector.
#pragma once

#include <cmath>
#include <type_traits>

#include "macros.h"

namespace gmcn {

template <typename V>
struct Elementwise {
  using Scalar = std::remove_cvref_t<decltype(V{}[0])>;
  using Index = decltype(V{} < V{});  // whole numbers, one a lane
};
template <>
struct Elementwise<float> {
  using Scalar = float;
  using Index = int;
};
template <>
struct Elementwise<double> {
  using Scalar = double;
  using Index = int;
};
template <typename V>
using Scalar = typename Elementwise<V>::Scalar;
template <typename V>
using Index = typename Elementwise<V>::Index;

// The same number in each lane.
template <typename V>
GMCN_HD V splat(double x) {
  return V{} + static_cast<Scalar<V>>(x);
}

template <typename V>
GMCN_HD V larger(V a, V b) {  // b where a is not a number
  return a > b ? a : b;
}

template <typename V>
struct Functions {
  static GMCN_HD V log(V x) { return std::log(x); }
  static GMCN_HD V exp(V x) { return std::exp(x); }  // of vectors: for x <= 0, as the next
  static GMCN_HD V exp2(V x) { return std::exp2(x); }
};

template <typename V>
GMCN_HD V root(V x) {
  if constexpr (std::is_floating_point_v<V>) {
    return std::sqrt(x);
  } else {
    GMCN_UNROLL
    for (unsigned i = 0; i < sizeof(V) / sizeof(x[0]); ++i) x[i] = std::sqrt(x[i]);
    return x;
  }
}

}  // namespace gmcn
