// The implementation of sets.h for one instruction set. Lanes are channels.
#pragma once

#include "../common/simd.h"
#include "sets.h"

namespace gmcn::GMCN_PATH {

// So many vectors of channels, from the first on.
template <typename T, int kVectors>
inline __attribute__((always_inline)) void scan_some(const T* x, std::int64_t rows, std::int64_t channels,
                                                     const SetSums<T>& out, std::int64_t first) {
  using Bits = typename VectorOf<T>::bits;
  Vector<T> base[kVectors], high[kVectors], low[kVectors], sum[kVectors] = {}, square[kVectors] = {};
  Bits at_high[kVectors] = {}, at_low[kVectors] = {};
  GMCN_UNROLL
  for (int v = 0; v < kVectors; ++v) base[v] = high[v] = low[v] = load(x + first + v * kLanes<T>);
  Bits row = {};
  for (std::int64_t i = 1; i < rows; ++i) {
    row += 1;
    GMCN_UNROLL
    for (int v = 0; v < kVectors; ++v) {
      const Vector<T> value = load(x + i * channels + first + v * kLanes<T>), above = value - base[v];
      const auto higher = value > high[v], lower = value < low[v];
      high[v] = higher ? value : high[v];
      at_high[v] = higher ? row : at_high[v];
      low[v] = lower ? value : low[v];
      at_low[v] = lower ? row : at_low[v];
      sum[v] += above;
      square[v] += above * above;
    }
  }
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t at = first + v * kLanes<T>;
    store(out.high + at, high[v]);
    store(out.low + at, low[v]);
    store(out.sum + at, sum[v]);
    store(out.square + at, square[v]);
    for (int lane = 0; lane < kLanes<T>; ++lane) {
      out.at_high[at + lane] = at_high[v][lane];
      out.at_low[at + lane] = at_low[v][lane];
    }
  }
}

template <typename T>
void scan(const T* x, std::int64_t rows, std::int64_t channels, const SetSums<T>& out) {
  constexpr int kVectors = 4;
  std::int64_t c = 0;
  for (; c + kVectors * kLanes<T> <= channels; c += kVectors * kLanes<T>)
    scan_some<T, kVectors>(x, rows, channels, out, c);
  for (; c + kLanes<T> <= channels; c += kLanes<T>) scan_some<T, 1>(x, rows, channels, out, c);
  for (; c < channels; ++c) {
    const T base = x[c];
    T high = base, low = base, sum = 0, square = 0;
    std::int64_t at_high = 0, at_low = 0;
    for (std::int64_t i = 1; i < rows; ++i) {
      const T value = x[i * channels + c], above = value - base;
      if (value > high) high = value, at_high = i;
      if (value < low) low = value, at_low = i;
      sum += above;
      square += above * above;
    }
    out.high[c] = high, out.low[c] = low, out.sum[c] = sum, out.square[c] = square;
    out.at_high[c] = at_high, out.at_low[c] = at_low;
  }
}

template <typename T>
void spread(const T* x, std::int64_t rows, std::int64_t channels, const T* mean, const T* level, const T* slope,
            T* gradient) {
  for (std::int64_t i = 0; i < rows; ++i) {
    const T* const from = x + i * channels;
    T* const to = gradient + i * channels;
    std::int64_t c = 0;
    for (; c + kLanes<T> <= channels; c += kLanes<T>)
      store(to + c, load(level + c) + load(slope + c) * (load(from + c) - load(mean + c)));
    for (; c < channels; ++c) to[c] = level[c] + slope[c] * (from[c] - mean[c]);
  }
}

template <typename T>
const SetKernels<T>& set_kernels() {
  static constexpr SetKernels<T> kernels{scan<T>, spread<T>};
  return kernels;
}

template const SetKernels<float>& set_kernels();
template const SetKernels<double>& set_kernels();

}  // namespace gmcn::GMCN_PATH
