// What EM in any dimension does between its two matrix products: the rows' softmax. Raw pointers only, compiled once
// per instruction set (shares_kernel.h) and chosen at run time.
#pragma once

#include <cstdint>

namespace gmcn {

// Replaces n logarithms by their exponentials times mass over their sum; returns the logarithm of the sum.
template <typename T>
using ShareKernel = T (*)(T* row, std::int64_t n, T mass);

template <typename T>
ShareKernel<T> share_kernel();

}  // namespace gmcn
