// The implementation of pairs.h for one instruction set. Lanes are points; Gaussians are broadcast.
#pragma once

#include "../common/simd.h"
#include "pairs.h"

namespace gmcn::GMCN_PATH {

// Vectors of points side by side: an exponential is one long chain of dependent instructions.
inline constexpr int kUnroll = 4;

template <typename T, int D>
inline __attribute__((always_inline)) Vector<T> minus_squared_norm(const Vector<T>* t) {
  Vector<T> y = minus_square<T>(t[0]);
  GMCN_UNROLL
  for (int i = 1; i < D; ++i) y -= t[i] * t[i];
  return y;
}

template <typename T, int D, int W>
void evaluate(const WeightedGaussian<T, D, W>* gaussians, std::int64_t n, const T* const coordinates[D],
              std::int64_t points, T* const values[W]) {
  constexpr std::int64_t kRun = 64;  // partial sums of this many Gaussians: rounding grows with the run, not with n
  for (std::int64_t m = 0; m < points; m += kUnroll * kLanes<T>) {
    Vector<T> x[kUnroll][D], total[kUnroll][W] = {};
    GMCN_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) x[u][d] = load(coordinates[d] + m + u * kLanes<T>);
    }
    for (std::int64_t begin = 0; begin < n; begin += kRun) {
      const std::int64_t end = begin + kRun < n ? begin + kRun : n;
      Vector<T> run[kUnroll][W] = {};
      for (std::int64_t i = begin; i < end; ++i) {
        const auto& g = gaussians[i];
        GMCN_UNROLL
        for (int u = 0; u < kUnroll; ++u) {
          Vector<T> t[D];
          standardise<D>(x[u], g.gaussian.position, g.gaussian.factor, t);
          const Vector<T> e = exp2<T>(minus_squared_norm<T, D>(t));
          GMCN_UNROLL
          for (int w = 0; w < W; ++w) run[u][w] += e * g.weights[w];
        }
      }
      GMCN_UNROLL
      for (int u = 0; u < kUnroll; ++u) {
        GMCN_UNROLL
        for (int w = 0; w < W; ++w) total[u][w] += run[u][w];
      }
    }
    GMCN_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      GMCN_UNROLL
      for (int w = 0; w < W; ++w) store(values[w] + m + u * kLanes<T>, total[u][w]);
    }
  }
}

template <typename T, int D, int W, bool kPositionGradients>
void backward(const WeightedGaussian<T, D, W>* gaussians, std::int64_t n, const T* const coordinates[D],
              std::int64_t points, const T* const upstream[W], PairSums<T, D, W>* sums,
              T* const position_gradients[D]) {
  // Copies that no store can alias: else every iteration would read the pointers again.
  const T *x_rows[D], *upstream_rows[W];
  T* gradient_rows[D];
  for (int d = 0; d < D; ++d) {
    x_rows[d] = coordinates[d];
    gradient_rows[d] = kPositionGradients ? position_gradients[d] : nullptr;
  }
  for (int w = 0; w < W; ++w) upstream_rows[w] = upstream[w];
  constexpr std::int64_t kBlock = 1024;  // points whose coordinates and gradients stay in the first cache
  for (std::int64_t i = 0; i < n; ++i) sums[i] = {};
  for (std::int64_t begin = 0; begin < points; begin += kBlock) {
    const std::int64_t end = begin + kBlock < points ? begin + kBlock : points;
    for (std::int64_t i = 0; i < n; ++i) {
      const auto& g = gaussians[i];
      Vector<T> zeroth[W] = {}, first[D] = {}, second[kPacked<D>] = {};
      for (std::int64_t m = begin; m < end; m += kUnroll * kLanes<T>) {
        Vector<T> t[kUnroll][D], e[kUnroll];
        GMCN_UNROLL
        for (int u = 0; u < kUnroll; ++u) {
          Vector<T> x[D];
          GMCN_UNROLL
          for (int d = 0; d < D; ++d) x[d] = load(x_rows[d] + m + u * kLanes<T>);
          standardise<D>(x, g.gaussian.position, g.gaussian.factor, t[u]);
          e[u] = exp2<T>(minus_squared_norm<T, D>(t[u]));
        }
        GMCN_UNROLL
        for (int u = 0; u < kUnroll; ++u) {
          const std::int64_t at = m + u * kLanes<T>;
          Vector<T> h = {};
          GMCN_UNROLL
          for (int w = 0; w < W; ++w) {
            const Vector<T> upstream_w = load(upstream_rows[w] + at);
            zeroth[w] += e[u] * upstream_w;
            h = w == 0 ? upstream_w * g.weights[w] : h + upstream_w * g.weights[w];
          }
          h *= e[u];
          Vector<T> ht[D];
          GMCN_UNROLL
          for (int d = 0; d < D; ++d) {
            ht[d] = h * t[u][d];
            first[d] += ht[d];
          }
          GMCN_UNROLL
          for (int d = 0; d < D; ++d) {
            GMCN_UNROLL
            for (int c = d; c < D; ++c) second[packed<D>(d, c)] += ht[d] * t[u][c];
          }
          if constexpr (!kPositionGradients) continue;
          GMCN_UNROLL
          for (int d = 0; d < D; ++d) {
            Vector<T> gradient = load(gradient_rows[d] + at);
            GMCN_UNROLL
            for (int c = d; c < D; ++c) gradient += ht[c] * g.gaussian.factor[c * (c + 1) / 2 + d];
            store(gradient_rows[d] + at, gradient);
          }
        }
      }
      GMCN_UNROLL
      for (int w = 0; w < W; ++w) sums[i].zeroth[w] += sum_of_lanes<T>(zeroth[w]);
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) sums[i].first[d] += sum_of_lanes<T>(first[d]);
      GMCN_UNROLL
      for (int p = 0; p < kPacked<D>; ++p) sums[i].second[p] += sum_of_lanes<T>(second[p]);
    }
  }
}

template <typename T, int D, int W>
PairKernels<T, D, W> kernels() {
  return {evaluate<T, D, W>, backward<T, D, W, true>, backward<T, D, W, false>};
}

template PairKernels<float, 2, 1> kernels();
template PairKernels<float, 3, 1> kernels();
template PairKernels<float, 2, 2> kernels();
template PairKernels<float, 3, 2> kernels();
template PairKernels<double, 2, 1> kernels();
template PairKernels<double, 3, 1> kernels();
template PairKernels<double, 2, 2> kernels();
template PairKernels<double, 3, 2> kernels();

}  // namespace gmcn::GMCN_PATH
