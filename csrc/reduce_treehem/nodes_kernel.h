// The implementation of nodes.h for one instruction set: each merge of a batch has a lane.
#pragma once

#include "leaves_kernel.h"

namespace gmcn::GMCN_PATH {

template <typename T, int D, int M, int K>
inline __attribute__((always_inline)) void merge_batch(const Merges& b, int m, int t, const MergeOptions<T>& options,
                                                       const Fields<T, D>& gaussians) {
  using V = Vector<T>;
  Merge<V, D, M, K>* state = static_cast<Merge<V, D, M, K>*>(b.state);
  for (int l = 0; l < b.merges; l += kLanes<T>, ++state) {
    Gaussian<V, D> in[M], out[K];
    for (int j = 0; j < m; ++j) in[j] = gather(gaussians, b.in[j] + l);
    merge_sized<V, D>(in, m, t, options, *state, out);
    for (int k = 0; k < t; ++k) store(gaussians, b.out + k * b.merges + l, out[k], b.merges - l);
  }
}

template <typename T, int D, int M, int K>
inline __attribute__((always_inline)) void merge_batch_vjp(const Merges& b, int m, int t,
                                                           const MergeOptions<T>& options,
                                                           const Fields<T, D>& gaussians, const std::int32_t* place,
                                                           const Fields<T, D>& gradients, std::int32_t to) {
  using V = Vector<T>;
  const Merge<V, D, M, K>* state = static_cast<const Merge<V, D, M, K>*>(b.state);
  for (int l = 0; l < b.merges; l += kLanes<T>, ++state) {
    Gaussian<V, D> in[M], out[K], upstream[K], gradient[M] = {};
    for (int j = 0; j < m; ++j) in[j] = gather(gaussians, b.in[j] + l);
    for (int k = 0; k < t; ++k) {
      std::int32_t made[kLanes<T>], places[kLanes<T>];
      for (int lane = 0; lane < kLanes<T>; ++lane) {
        made[lane] = b.out + k * b.merges + (l + lane < b.merges ? l + lane : b.merges - 1);
        places[lane] = place[made[lane]];
      }
      out[k] = gather(gaussians, made), upstream[k] = gather(gradients, places);
    }
    merge_vjp_sized<V, D>(in, m, t, options, *state, out, upstream, gradient);
    for (int j = 0; j < m; ++j) store(gradients, to + j * b.merges + l, gradient[j], b.merges - l);
  }
}

// Calls f.operator()<M, K>(m, t) for room that is large enough, with the sizes of T = 2, by far the most frequent,
// known to the compiler.
template <typename F>
inline __attribute__((always_inline)) auto sized(int m, int t, const F& f) {
  if (m == 4 && t == 2) return f.template operator()<4, 2>(4, 2);
  if (m == 3 && t == 2) return f.template operator()<4, 2>(3, 2);
  if (m <= 4) return f.template operator()<4, 4>(m, t);
  if (m <= 8) return f.template operator()<8, 8>(m, t);
  return f.template operator()<kMaxMerge, kMaxMerge>(m, t);
}

template <typename T, int D>
std::size_t state_size(int m, int t) {
  return sized(m, t, []<int M, int K>(int, int) { return kBatch / kLanes<T> * sizeof(Merge<Vector<T>, D, M, K>); });
}

template <typename T, int D>
void merge_any(const Merges& b, const MergeOptions<T>& options, const Fields<T, D>& gaussians) {
  sized(b.m, b.t, [&]<int M, int K>(int m, int t) { merge_batch<T, D, M, K>(b, m, t, options, gaussians); });
}

template <typename T, int D>
void merge_any_vjp(const Merges& b, const MergeOptions<T>& options, const Fields<T, D>& gaussians,
                   const std::int32_t* place, const Fields<T, D>& gradients, std::int32_t to) {
  sized(b.m, b.t, [&]<int M, int K>(int m, int t) {
    merge_batch_vjp<T, D, M, K>(b, m, t, options, gaussians, place, gradients, to);
  });
}

template <typename T, int D>
NodeKernels<T, D> node_kernels() {
  return {survey<T, D>,     sort_few,        kLanes<float> * 32,  make_leaves<T, D>,
          state_size<T, D>, merge_any<T, D>, merge_any_vjp<T, D>, finish_gradients<T, D>};
}

template NodeKernels<float, 2> node_kernels();
template NodeKernels<float, 3> node_kernels();
template NodeKernels<double, 2> node_kernels();
template NodeKernels<double, 3> node_kernels();

}  // namespace gmcn::GMCN_PATH
