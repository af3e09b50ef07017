// Nodes of a convolution's positive part: how its components are coded and cut into groups, and what each group's node
// weighs. A host's and a device's code share these formulas, so that both cut the same groups.
#pragma once

#include "morton.h"
#include "relu_fit.h"

namespace gmcn {

// Cells per unit of length along one axis of the members' box; 0 where it is flat.
template <typename T>
GMCN_HD T cells_per_unit(T low, T high) {
  return high > low ? T(1024) / (high - low) : T(0);
}

// The Morton code of a centre, by its offset from the low corner of the box.
template <typename T, int D>
GMCN_HD std::uint32_t cell_code(const T* offset, const T* per_unit) {
  std::uint32_t code = 0;
  for (int d = 0; d < D; ++d) {
    const T cell = offset[d] * per_unit[d];
    code |= spread_bits(cell >= T(1023) ? 1023u : cell > T(0) ? static_cast<std::uint32_t>(cell) : 0u) << (2 - d);
  }
  return code;
}

// Sums over components of w, w c and w |c|^2, c being the offset from the box's low corner.
template <int D>
inline constexpr int kSpreadSums = D + 2;

// What is cut first: a group's mass times its spread, sum w |c - mean|^2. The group lies between two running sums; what
// is within their rounding is no spread.
template <int D>
GMCN_HD double spread_priority(const double* begin, const double* end) {
  const double mass = end[0] - begin[0];
  if (!(mass > 0)) return 0;
  double first = 0;
  for (int d = 0; d < D; ++d) {
    const double x = end[1 + d] - begin[1 + d];
    first += x * x;
  }
  const double spread = end[D + 1] - begin[D + 1] - first / mass;
  return spread > 1e-12 * end[D + 1] ? spread * mass : 0.0;
}

// The density of its mass below which nothing of a node is left where it stands: far from all of its members, the ratio
// of two numbers that are almost zero says nothing, and its gradient would overflow.
template <typename T>
inline constexpr T kLeastDensity = sizeof(T) == 4 ? T(1e-30) : T(1e-60);

template <typename T>
GMCN_HD bool is_void(T mass, T g) {
  return g <= mass * kLeastDensity<T>;  // not so for what is not a number
}

// The weight of a node of that mass where the whole convolution is f and its positive part is g. The quotient first:
// the product of two densities would be zero or infinite where each of them is a number.
template <typename T>
GMCN_HD T node_weight(T mass, T f, T g) {
  return is_void(mass, g) ? T(0) : mass * corrected_weight(T(1), f, g, T(0), T(0));
}

// Gradients with respect to mass (of_x), f and g, for the upstream gradient of the weight.
template <typename T>
GMCN_HD FitGradient<T> node_weight_vjp(T upstream, T mass, T f, T g) {
  if (is_void(mass, g)) return {T(0), T(0), T(0)};
  return corrected_weight_vjp(upstream, mass, f, g, T(0), T(0));
}

}  // namespace gmcn
