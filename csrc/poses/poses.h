// How much a mixture in 3D overlaps another one when it is turned, scaled and moved: raw pointers only, compiled once
// per instruction set (poses_kernel.h) and chosen at run time.
#pragma once

#include <cstdint>

namespace gmcn {

// Components as arrays of numbers, padded by ones of weight 0 so that every vector is whole.
template <typename T>
struct PaddedMixture {
  std::int64_t padded;
  const T *logs, *means[3], *covariances[6];  // logarithms of weights; upper triangles by rows
};

template <typename T>
struct PosedMixture {
  std::int64_t n;
  const T *logs, *means, *covariances;  // [n], [n, 3], [n, 6], turned and scaled
};

// What a pose and its small changes need of the pairs of one component of the source.
inline constexpr int kPairSums = 16;  // of e, e g [3], e P [6], e g g^T [6]: P = C^-1, g = P r, r between the means

template <typename T>
struct PoseKernels {
  std::int64_t lanes;  // of which the padded number is a multiple
  // The overlap for each translation [count, 3]. scratch: [n, 10, padded]. False where a covariance is not positive
  // definite.
  bool (*overlaps)(const PosedMixture<T>&, const PaddedMixture<T>&, const T* translations, std::int64_t count,
                   T* scratch, T* values);
  // For one translation the sums of each component [n, kPairSums].
  bool (*sums)(const PosedMixture<T>&, const PaddedMixture<T>&, const T* translation, T* sums);
};

template <typename T>
const PoseKernels<T>& pose_kernels();

}  // namespace gmcn
