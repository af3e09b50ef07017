// The implementation of nodes.h for one instruction set.
#pragma once

#include "nodes.h"

namespace gmcn::GMCN_PATH {

template <typename T, int D, int M>
void merge_batch(const Merges& b, int m, int t, const MergeOptions<T>& options, const Fields<T, D>& gaussians) {
  Merge<T, D, M>* const state = static_cast<Merge<T, D, M>*>(b.state);
  if (m > M) __builtin_unreachable();
  for (int l = 0; l < b.merges; ++l) {
    Gaussian<T, D> in[M], out[M];
    for (int j = 0; j < m; ++j) in[j] = gaussians[b.in[j][l]];
    merge<T, D>(in, m, t, options, state[l], out);
    for (int k = 0; k < t; ++k) gaussians.set(b.out + k * b.merges + l, out[k]);
  }
}

template <typename T, int D, int M>
void merge_batch_vjp(const Merges& b, int m, int t, const MergeOptions<T>& options, const Fields<T, D>& gaussians,
                     const std::int32_t* place, const Fields<T, D>& gradients, std::int32_t to) {
  const Merge<T, D, M>* const state = static_cast<const Merge<T, D, M>*>(b.state);
  if (m > M) __builtin_unreachable();
  for (int l = 0; l < b.merges; ++l) {
    Gaussian<T, D> in[M], out[M], upstream[M], gradient[M] = {};
    for (int j = 0; j < m; ++j) in[j] = gaussians[b.in[j][l]];
    for (int k = 0; k < t; ++k) {
      const std::int32_t made = b.out + k * b.merges + l;
      out[k] = gaussians[made], upstream[k] = gradients[place[made]];
    }
    merge_vjp<T, D>(in, m, t, options, state[l], out, upstream, gradient);
    for (int j = 0; j < m; ++j) gradients.set(to + j * b.merges + l, gradient[j]);
  }
}

template <typename T, int D>
std::size_t state_size(int m, int) {
  return kBatch * (m <= 4 ? sizeof(Merge<T, D, 4>) : m <= 8 ? sizeof(Merge<T, D, 8>) : sizeof(Merge<T, D>));
}

template <typename T, int D>
void merge_any(const Merges& b, const MergeOptions<T>& options, const Fields<T, D>& gaussians) {
  if (b.m <= 4)
    merge_batch<T, D, 4>(b, b.m, b.t, options, gaussians);
  else if (b.m <= 8)
    merge_batch<T, D, 8>(b, b.m, b.t, options, gaussians);
  else
    merge_batch<T, D, kMaxMerge>(b, b.m, b.t, options, gaussians);
}

template <typename T, int D>
void merge_any_vjp(const Merges& b, const MergeOptions<T>& options, const Fields<T, D>& gaussians,
                   const std::int32_t* place, const Fields<T, D>& gradients, std::int32_t to) {
  if (b.m <= 4)
    merge_batch_vjp<T, D, 4>(b, b.m, b.t, options, gaussians, place, gradients, to);
  else if (b.m <= 8)
    merge_batch_vjp<T, D, 8>(b, b.m, b.t, options, gaussians, place, gradients, to);
  else
    merge_batch_vjp<T, D, kMaxMerge>(b, b.m, b.t, options, gaussians, place, gradients, to);
}

template <typename T, int D>
NodeKernels<T, D> node_kernels() {
  return {state_size<T, D>, merge_any<T, D>, merge_any_vjp<T, D>};
}

template NodeKernels<float, 2> node_kernels();
template NodeKernels<float, 3> node_kernels();
template NodeKernels<double, 2> node_kernels();
template NodeKernels<double, 3> node_kernels();

}  // namespace gmcn::GMCN_PATH
