// layer_moments of one component: raw pointers only, compiled once per instruction set (rows_kernel.h) and chosen at
// run time.
#pragma once

#include "moments.h"

namespace gmcn {

template <typename T>
struct RowKernels {
  void (*forward)(Activation, const LayerInput<T>&, std::int64_t k, const LayerOutput<T>&);
  void (*backward)(Activation, const LayerInput<T>&, std::int64_t k, const LayerOutput<const T>&,
                   const LayerGradient<T>&);
};

template <typename T>
const RowKernels<T>& row_kernels();

}  // namespace gmcn
