// Morton codes of centres: 10 bits per axis of the bounding box, x in the most significant bit of each triple.
#pragma once

#include <cstdint>

#include "elementwise.h"

namespace gmcn {

template <typename U>
GMCN_HD U spread_bits(U v) {  // bit k of 10 -> bit 3 k
  v = (v | v << 16) & 0x030000FF;
  v = (v | v << 8) & 0x0300F00F;
  v = (v | v << 4) & 0x030C30C3;
  return (v | v << 2) & 0x09249249;
}

// V is a number or a vector of them (elementwise.h).
template <typename V, int D>
GMCN_HD auto morton_code(const V* position, const V* low, const V* high) {
  using Code = std::conditional_t<std::is_floating_point_v<V>, std::uint32_t, Index<V>>;
  Code code = {};
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) {
    // Not a number where the box is flat.
    V cell = larger(Scalar<V>(1024) * ((position[d] - low[d]) / (high[d] - low[d])), V{});
    cell = cell < splat<V>(1023) ? cell : splat<V>(1023);
    if constexpr (std::is_floating_point_v<V>)
      code |= spread_bits(static_cast<Code>(cell)) << (2 - d);
    else
      code |= spread_bits(__builtin_convertvector(cell, Code)) << (2 - d);
  }
  return code;
}

}  // namespace gmcn
