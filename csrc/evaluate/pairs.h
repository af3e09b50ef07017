// Sums over pairs of a Gaussian and a point: what evaluate and relu_fit spend their time in. Raw pointers only: the
// implementations are compiled once per instruction set (pairs_avx512.cpp, ...) and chosen at run time.
//
// W sets of weights share each exponential. Points are stored as one array per coordinate, padded to kPointPadding and
// aligned to kAlignment.
#pragma once

#include <cstddef>
#include <cstdint>

#include "../common/components.h"
#include "../common/gaussian.h"

namespace gmcn {

inline constexpr std::int64_t kPointPadding = 64;  // points; a multiple of every vector's lanes times its unrolling

inline constexpr std::size_t kAlignment = 64;  // bytes; of the widest vector

inline std::int64_t padded(std::int64_t points) { return (points + kPointPadding - 1) / kPointPadding * kPointPadding; }

template <typename T, int D, int W>
struct WeightedGaussian {
  Whitened<T, D> gaussian;
  T weights[W];  // times gaussian.scale
};

template <typename T, int D, int W>
struct PairSums {
  T zeroth[W];
  T first[D];
  T second[kPacked<D>];
};

// Leaving out pairs that are far: for every group of successive points (which should lie close together) the box around
// it, and scratch memory. Arrays hold one entry per group and are padded with copies of the last.
template <typename T, int D>
struct Culling {
  T reach;               // pairs with |t|^2 beyond it may be left out
  const T* centres[D];   // [groups]
  const T* halves[D];    // [groups]
  std::int32_t* near;    // [groups, kNear]
  std::int32_t* counts;  // [groups]
};

inline constexpr std::int32_t kNear = 1024;  // Gaussians between which and all groups pairs are listed at once

template <typename T, int D, int W>
struct PairKernels {
  // Whitens n Gaussians, with their weights times the normalisation. False where one is not positive definite.
  bool (*prepare)(const Gaussian<T, D>* rows, const T* const weights[W], std::int64_t n,
                  WeightedGaussian<T, D, W>* result);
  std::int64_t group;  // successive points that share a box; divides kPointPadding
  // values[w][m] = sum_n weights[n][w] exp2(-|t_nm|^2) for m < points (a multiple of kPointPadding). Exact where
  // `culling` is null.
  void (*evaluate)(const WeightedGaussian<T, D, W>* gaussians, std::int64_t n, const T* const coordinates[D],
                   std::int64_t points, const Culling<T, D>* culling, T* const values[W]);
  // The sums of gaussian.h for every Gaussian, and position_gradients[d][m] += sum_n h e (W^T t)_d: the gradient with
  // respect to the point is -2 ln2 times that. upstream[w][m] is zero in the padding.
  using Backward = void (*)(const WeightedGaussian<T, D, W>* gaussians, std::int64_t n, const T* const coordinates[D],
                            std::int64_t points, const Culling<T, D>* culling, const T* const upstream[W],
                            PairSums<T, D, W>* sums, T* const position_gradients[D]);
  Backward backward;
  Backward backward_of_gaussians;  // the sums alone; position_gradients is not read
};

template <typename T, int D, int W>
const PairKernels<T, D, W>& pair_kernels();

}  // namespace gmcn
