// Largest rows of sets: raw pointers only, compiled once per instruction set (largest_kernel.h) and chosen at run time.
#pragma once

#include <cstdint>

namespace gmcn {

template <typename T>
struct LargestKernels {
  // The first row of one set [M, C] that is largest in each channel.
  void (*scan)(const T* x, std::int64_t rows, std::int64_t channels, std::int64_t* at);
};

template <typename T>
const LargestKernels<T>& largest_kernels();

}  // namespace gmcn
