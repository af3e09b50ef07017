// The implementation of poses.h for one instruction set. Lanes are components of the target.
#pragma once

#include "../common/simd.h"
#include "../common/symmetric.h"
#include "poses.h"

namespace gmcn::GMCN_PATH {

// Of a pair: W with |W r|^2 = r^T C^-1 r, and the logarithm of its weight times a Gaussian's peak.
template <typename T>
struct PosePair {
  Vector<T> w[6], height;
  typename VectorOf<T>::bits good;

  inline __attribute__((always_inline)) PosePair(const PosedMixture<T>& source, std::int64_t a,
                                                 const PaddedMixture<T>& target, std::int64_t b) {
    Vector<T> c[6];
    GMCN_UNROLL
    for (int k = 0; k < 6; ++k) c[k] = load(target.covariances[k] + b) + source.covariances[a * 6 + k];
    good = (typename VectorOf<T>::bits)inverse_cholesky<Vector<T>, 3>(c, w);
    constexpr T peak = T(-2.75681559961402);  // of a normal distribution: -3/2 log(2 pi)
    height = load(target.logs + b) + (source.logs[a] + peak) + Functions<Vector<T>>::log(w[0] * w[2] * w[5]);
  }
};

template <typename T>
bool pose_overlaps(const PosedMixture<T>& source, const PaddedMixture<T>& target, const T* translations,
                   std::int64_t count, T* scratch, T* values) {
  constexpr T log2e = T(1.4426950408889634), half = T(0.84932180028801905);  // the root of log2(e) / 2
  const std::int64_t padded = target.padded, pairs = source.n * padded;
  auto good = typename VectorOf<T>::bits{} - 1;
  for (std::int64_t a = 0; a < source.n; ++a) {
    for (std::int64_t b = 0; b < padded; b += kLanes<T>) {
      const PosePair<T> pair(source, a, target, b);
      good = good & pair.good;
      Vector<T> delta[3];
      GMCN_UNROLL
      for (int d = 0; d < 3; ++d) delta[d] = load(target.means[d] + b) - source.means[a * 3 + d];
      T* const to = scratch + a * padded + b;
      GMCN_UNROLL
      for (int i = 0; i < 3; ++i) {
        Vector<T> z = {};
        GMCN_UNROLL
        for (int j = 0; j <= i; ++j) {
          const Vector<T> entry = pair.w[i * (i + 1) / 2 + j] * half;
          store(to + (i * (i + 1) / 2 + j) * pairs, entry);
          z += entry * delta[j];
        }
        store(to + (6 + i) * pairs, z);
      }
      store(to + 9 * pairs, pair.height * log2e);
    }
  }
  constexpr int kTogether = 4;  // translations, which share what is loaded of a pair
  for (std::int64_t first = 0; first < count; first += kTogether) {
    T t[kTogether][3];
    Vector<T> sums[kTogether] = {};
    for (int k = 0; k < kTogether; ++k)
      for (int d = 0; d < 3; ++d) t[k][d] = translations[(first + k < count ? first + k : count - 1) * 3 + d];
    for (std::int64_t pair = 0; pair < pairs; pair += kLanes<T>) {
      Vector<T> at[10];
      GMCN_UNROLL
      for (int k = 0; k < 10; ++k) at[k] = load(scratch + k * pairs + pair);
      GMCN_UNROLL
      for (int k = 0; k < kTogether; ++k) {
        const Vector<T> x = at[0] * t[k][0] - at[6];
        const Vector<T> y = at[1] * t[k][0] + (at[2] * t[k][1] - at[7]);
        const Vector<T> z = at[3] * t[k][0] + (at[4] * t[k][1] + (at[5] * t[k][2] - at[8]));
        sums[k] += exp2<T>(at[9] - x * x - y * y - z * z);
      }
    }
    for (std::int64_t k = 0; k < kTogether && first + k < count; ++k) values[first + k] = sum_of_lanes<T>(sums[k]);
  }
  return !any(~good);
}

template <typename T>
bool pose_sums(const PosedMixture<T>& source, const PaddedMixture<T>& target, const T* translation, T* sums) {
  constexpr T log2e = T(1.4426950408889634);
  auto good = typename VectorOf<T>::bits{} - 1;
  for (std::int64_t a = 0; a < source.n; ++a) {
    Vector<T> found[kPairSums] = {};
    for (std::int64_t b = 0; b < target.padded; b += kLanes<T>) {
      const PosePair<T> pair(source, a, target, b);
      good = good & pair.good;
      Vector<T> r[3], z[3], g[3];
      GMCN_UNROLL
      for (int d = 0; d < 3; ++d) r[d] = (translation[d] + source.means[a * 3 + d]) - load(target.means[d] + b);
      const Vector<T>* const w = pair.w;
      z[0] = w[0] * r[0], z[1] = w[1] * r[0] + w[2] * r[1], z[2] = w[3] * r[0] + w[4] * r[1] + w[5] * r[2];
      g[0] = w[0] * z[0] + w[1] * z[1] + w[3] * z[2], g[1] = w[2] * z[1] + w[4] * z[2], g[2] = w[5] * z[2];
      const Vector<T> p[6] = {w[0] * w[0] + w[1] * w[1] + w[3] * w[3],
                              w[1] * w[2] + w[3] * w[4],
                              w[3] * w[5],
                              w[2] * w[2] + w[4] * w[4],
                              w[4] * w[5],
                              w[5] * w[5]};
      const Vector<T> e = exp2<T>((pair.height - (z[0] * z[0] + z[1] * z[1] + z[2] * z[2]) / 2) * log2e);
      found[0] += e;
      GMCN_UNROLL
      for (int i = 0; i < 3; ++i) {
        const Vector<T> slope = e * g[i];
        found[1 + i] += slope;
        GMCN_UNROLL
        for (int j = i; j < 3; ++j) found[10 + packed<3>(i, j)] += slope * g[j];
      }
      GMCN_UNROLL
      for (int k = 0; k < 6; ++k) found[4 + k] += e * p[k];
    }
    for (int k = 0; k < kPairSums; ++k) sums[a * kPairSums + k] = sum_of_lanes<T>(found[k]);
  }
  return !any(~good);
}

template <typename T>
const PoseKernels<T>& pose_kernels() {
  static constexpr PoseKernels<T> kernels{kLanes<T>, pose_overlaps<T>, pose_sums<T>};
  return kernels;
}

template const PoseKernels<float>& pose_kernels();
template const PoseKernels<double>& pose_kernels();

}  // namespace gmcn::GMCN_PATH
