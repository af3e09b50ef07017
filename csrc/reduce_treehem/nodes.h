// The merges at the nodes of reduction trees, a batch of equal sizes at a time, and their gradients. Raw pointers only:
// both are compiled once per instruction set (nodes_kernel.h) and chosen at run time.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../common/merge.h"

namespace gmcn {

inline constexpr int kBatch = 16;  // merges of a batch at most

template <typename T, int D>
inline constexpr int kFields = sizeof(Gaussian<T, D>) / sizeof(T);

// Gaussians, or gradients of them, by fields: field f of number i is data[f * stride + i].
template <typename T, int D>
struct Fields {
  T* data;
  std::size_t stride;

  Gaussian<T, D> operator[](std::int32_t i) const {
    Gaussian<T, D> g;
    for (int f = 0; f < kFields<T, D>; ++f) reinterpret_cast<T*>(&g)[f] = data[f * stride + i];
    return g;
  }
  void set(std::int32_t i, const Gaussian<T, D>& g) const {
    for (int f = 0; f < kFields<T, D>; ++f) data[f * stride + i] = reinterpret_cast<const T*>(&g)[f];
  }
};

// Number l of `merges` makes the `t` Gaussians out + k * merges + l of the `m` Gaussians in[j][l]. What `in` has beyond
// `merges` repeats others.
struct Merges {
  std::int32_t merges;
  int m, t;
  const std::int32_t (*in)[kBatch];
  std::int32_t out;
  void* state;  // for the gradient
};

template <typename T, int D>
struct NodeKernels {
  // Morton codes of n components, whose fields are padded to whole batches. Returns the root of the average variance.
  T (*survey)(const Fields<T, D>& components, std::int32_t n, std::uint32_t* codes);
  // Their stable order. For few: up to that many it is faster than radix sort.
  void (*sort_few)(const std::uint32_t* codes, std::int32_t n, std::int32_t* order);
  std::int32_t few;
  // Leaves `first` on, in units of `scale`. False: a component is unusable.
  bool (*make_leaves)(const Fields<T, D>& components, const std::int32_t* order, std::int32_t n, T scale,
                      const Fields<T, D>& gaussians, std::int32_t first);
  std::size_t (*state_size)(int m, int t);  // bytes, a multiple of their alignment
  void (*merge)(const Merges& batch, const MergeOptions<T>& options, const Fields<T, D>& gaussians);
  // The gradient of out + k * merges + l is that at place[out + k * merges + l] of `gradients`; the one of in[j][l]
  // becomes `to` + j * merges + l there.
  void (*merge_vjp)(const Merges& batch, const MergeOptions<T>& options, const Fields<T, D>& gaussians,
                    const std::int32_t* place, const Fields<T, D>& gradients, std::int32_t to);
  // Gradients of the leaves' components in their own units; that of the scale is what the result's units give.
  void (*finish_gradients)(const Fields<T, D>& gaussians, std::int32_t first, std::int32_t n, T scale, T scale_gradient,
                           const std::int32_t* place, const Fields<T, D>& gradients, const Fields<T, D>& result);
};

inline constexpr std::size_t kStateAlignment = 64;

template <typename T, int D>
const NodeKernels<T, D>& node_kernels();

}  // namespace gmcn
