// The implementation of largest.h for one instruction set. Lanes are channels.
#pragma once

#include "../common/simd.h"
#include "largest.h"

namespace gmcn::GMCN_PATH {

// So many vectors of channels, from the first on.
template <typename T, int kVectors>
inline __attribute__((always_inline)) void scan_some(const T* x, std::int64_t rows, std::int64_t channels,
                                                     std::int64_t first, std::int64_t* at) {
  using Bits = typename VectorOf<T>::bits;
  Vector<T> high[kVectors];
  Bits at_high[kVectors] = {};
  GMCN_UNROLL
  for (int v = 0; v < kVectors; ++v) high[v] = load(x + first + v * kLanes<T>);
  Bits row = {};
  for (std::int64_t i = 1; i < rows; ++i) {
    row += 1;
    GMCN_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const Vector<T> value = load(x + i * channels + first + v * kLanes<T>);
      const auto higher = value > high[v];
      high[v] = higher ? value : high[v];
      at_high[v] = higher ? row : at_high[v];
    }
  }
  for (int v = 0; v < kVectors; ++v)
    for (int lane = 0; lane < kLanes<T>; ++lane) at[first + v * kLanes<T> + lane] = at_high[v][lane];
}

template <typename T>
void scan(const T* x, std::int64_t rows, std::int64_t channels, std::int64_t* at) {
  constexpr int kVectors = 4;
  std::int64_t c = 0;
  for (; c + kVectors * kLanes<T> <= channels; c += kVectors * kLanes<T>)
    scan_some<T, kVectors>(x, rows, channels, c, at);
  for (; c + kLanes<T> <= channels; c += kLanes<T>) scan_some<T, 1>(x, rows, channels, c, at);
  for (; c < channels; ++c) {
    at[c] = 0;
    for (std::int64_t i = 1; i < rows; ++i)
      if (x[i * channels + c] > x[at[c] * channels + c]) at[c] = i;
  }
}

template <typename T>
const LargestKernels<T>& largest_kernels() {
  static constexpr LargestKernels<T> kernels{scan<T>};
  return kernels;
}

template const LargestKernels<float>& largest_kernels();
template const LargestKernels<double>& largest_kernels();

}  // namespace gmcn::GMCN_PATH
