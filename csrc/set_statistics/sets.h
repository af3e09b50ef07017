// Statistics of sets of rows, for a normalisation that a maximum follows: raw pointers only, compiled once per
// instruction set (sets_kernel.h) and chosen at run time.
#pragma once

#include <cstdint>

namespace gmcn {

// Of one set [M, C] by channel: the largest and the smallest row and which it is, and sums of what lies above the first
// row, and of its squares.
template <typename T>
struct SetSums {
  T *high, *low, *sum, *square;    // [C]
  std::int64_t *at_high, *at_low;  // [C]
};

template <typename T>
struct SetKernels {
  void (*scan)(const T* x, std::int64_t rows, std::int64_t channels, const SetSums<T>& out);
  // gradient = level + slope (x - mean), by channel.
  void (*spread)(const T* x, std::int64_t rows, std::int64_t channels, const T* mean, const T* level, const T* slope,
                 T* gradient);
};

template <typename T>
const SetKernels<T>& set_kernels();

}  // namespace gmcn
