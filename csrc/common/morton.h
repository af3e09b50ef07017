// Morton codes of centres: 10 bits per axis of the bounding box, x in the most significant bit of each triple.
#pragma once

#include <cstdint>

#include "macros.h"

namespace gmcn {

GMCN_HD std::uint32_t spread_bits(std::uint32_t v) {  // bit k of 10 -> bit 3 k
  v = (v | v << 16) & 0x030000FF;
  v = (v | v << 8) & 0x0300F00F;
  v = (v | v << 4) & 0x030C30C3;
  return (v | v << 2) & 0x09249249;
}

template <typename T, int D>
GMCN_HD std::uint32_t morton_code(const T* position, const T* low, const T* high) {
  std::uint32_t code = 0;
  for (int d = 0; d < D; ++d) {
    const T cell = T(1024) * ((position[d] - low[d]) / (high[d] - low[d]));  // not a number where the box is flat
    code |= spread_bits(cell >= T(1023) ? 1023u : cell > T(0) ? static_cast<std::uint32_t>(cell) : 0u) << (2 - d);
  }
  return code;
}

}  // namespace gmcn
