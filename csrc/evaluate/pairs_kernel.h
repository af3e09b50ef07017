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
bool prepare(const Gaussian<T, D>* rows, const T* const weights[W], std::int64_t n, WeightedGaussian<T, D, W>* result) {
  constexpr int kPart = kPacked<D>;
  for (std::int64_t begin = 0; begin < n; begin += kLanes<T>) {
    const std::int64_t lanes = n - begin < kLanes<T> ? n - begin : kLanes<T>;
    alignas(Vector<T>) T entries[kPart + 1][kLanes<T>];  // of covariances, then of factors and scales
    for (int lane = 0; lane < kLanes<T>; ++lane) {
      const Gaussian<T, D>& row = rows[begin + (lane < lanes ? lane : lanes - 1)];
      GMCN_UNROLL
      for (int p = 0; p < kPart; ++p) entries[p][lane] = row.covariance[p];
    }
    Vector<T> covariance[kPart], factor[kPart], scale;
    for (int p = 0; p < kPart; ++p) covariance[p] = load(entries[p]);
    const auto good = whiten<T, D, Vector<T>>(covariance, factor, scale);
    for (int lane = 0; lane < lanes; ++lane)
      if (!good[lane]) return false;
    for (int p = 0; p < kPart; ++p) store(entries[p], factor[p]);
    store(entries[kPart], scale);
    for (int lane = 0; lane < lanes; ++lane) {
      WeightedGaussian<T, D, W>& to = result[begin + lane];
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) to.gaussian.position[d] = rows[begin + lane].position[d];
      GMCN_UNROLL
      for (int p = 0; p < kPart; ++p) to.gaussian.factor[p] = entries[p][lane];
      to.gaussian.scale = entries[kPart][lane];
      GMCN_UNROLL
      for (int w = 0; w < W; ++w) to.weights[w] = weights[w][begin + lane] * to.gaussian.scale;
    }
  }
  return true;
}

// Makes the compiler read *g anew for the next vector of points. AVX-512 broadcasts an operand from memory within the
// instruction that uses it; kept for all vectors, the Gaussian would push the points out of the registers.
template <typename G>
inline __attribute__((always_inline)) void load_again([[maybe_unused]] const G*& g) {
#if defined(GMCN_AVX512)
  asm("" : "+r"(g));
#endif
}

// Appends to near[j], for groups j of [begin, end), whatever lies within reach of the Gaussian.
template <typename T, int D, typename F>
inline __attribute__((always_inline)) void for_each_near(const Whitened<T, D>& g, const Culling<T, D>& culling,
                                                         std::int64_t begin, std::int64_t end, const F& visit) {
  for (std::int64_t first = begin; first < end; first += kLanes<T>) {
    Vector<T> centre[D], half[D];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) {
      centre[d] = load(culling.centres[d] + first);
      half[d] = load(culling.halves[d] + first);
    }
    const auto far = least_squared_norm<D>(centre, half, g.position, g.factor) > culling.reach;
    const std::int64_t lanes = end - first < kLanes<T> ? end - first : kLanes<T>;
    for (std::int64_t lane = 0; lane < lanes; ++lane)
      if (!far[lane]) visit(first + lane);
  }
}

// values[w] += at the group of points from m on, of count Gaussians, the i-th of which is index(i).
template <typename T, int D, int W, typename F>
inline __attribute__((always_inline)) void add_values(const WeightedGaussian<T, D, W>* gaussians, std::int64_t count,
                                                      const F& index, const T* const coordinates[D], std::int64_t m,
                                                      T* const values[W]) {
  constexpr std::int64_t kRun = 64;  // partial sums of this many Gaussians: rounding grows with the run, not with n
  Vector<T> x[kUnroll][D];
  GMCN_UNROLL
  for (int u = 0; u < kUnroll; ++u) {
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) x[u][d] = load(coordinates[d] + m + u * kLanes<T>);
  }
  for (std::int64_t begin = 0; begin < count; begin += kRun) {
    const std::int64_t end = begin + kRun < count ? begin + kRun : count;
    Vector<T> run[kUnroll][W] = {};
    for (std::int64_t i = begin; i < end; ++i) {
      const WeightedGaussian<T, D, W>* g = gaussians + index(i);
      GMCN_UNROLL
      for (int u = 0; u < kUnroll; ++u) {
        load_again(g);
        Vector<T> t[D];
        standardise<D>(x[u], g->gaussian.position, g->gaussian.factor, t);
        const Vector<T> e = exp2<T>(minus_squared_norm<T, D>(t));
        GMCN_UNROLL
        for (int w = 0; w < W; ++w) run[u][w] += e * g->weights[w];
      }
    }
    GMCN_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      GMCN_UNROLL
      for (int w = 0; w < W; ++w) {
        T* const to = values[w] + m + u * kLanes<T>;
        store(to, load(to) + run[u][w]);
      }
    }
  }
}

template <typename T, int D, int W>
void evaluate(const WeightedGaussian<T, D, W>* gaussians, std::int64_t n, const T* const coordinates[D],
              std::int64_t points, const Culling<T, D>* culling, T* const values[W]) {
  constexpr std::int64_t kGroup = kUnroll * kLanes<T>;
  if (points == 0) return;  // there may be no memory for values
  for (int w = 0; w < W; ++w) std::memset(values[w], 0, points * sizeof(T));
  if (!culling) {
    for (std::int64_t m = 0; m < points; m += kGroup)
      add_values<T, D, W>(gaussians, n, [](std::int64_t i) { return i; }, coordinates, m, values);
    return;
  }
  for (std::int64_t begin = 0; begin < n; begin += kNear) {
    const std::int64_t end = begin + kNear < n ? begin + kNear : n;
    std::memset(culling->counts, 0, points / kGroup * sizeof(std::int32_t));
    for (std::int64_t i = begin; i < end; ++i)
      for_each_near<T, D>(gaussians[i].gaussian, *culling, 0, points / kGroup, [&](std::int64_t group) {
        culling->near[group * kNear + culling->counts[group]++] = static_cast<std::int32_t>(i - begin);
      });
    for (std::int64_t group = 0; group < points / kGroup; ++group) {
      const std::int32_t* const near = culling->near + group * kNear;
      const auto index = [near](std::int64_t i) { return near[i]; };
      add_values<T, D, W>(gaussians + begin, culling->counts[group], index, coordinates, group * kGroup, values);
    }
  }
}

// Sums of one Gaussian in lanes, and what its pairs with a group of points add to them.
template <typename T, int D, int W>
struct LaneSums {
  Vector<T> zeroth[W] = {}, first[D] = {}, second[kPacked<D>] = {};

  template <bool kPositionGradients>
  inline __attribute__((always_inline)) void add(const WeightedGaussian<T, D, W>& g, const T* const (&x_rows)[D],
                                                 const T* const (&upstream_rows)[W], T* const (&gradient_rows)[D],
                                                 std::int64_t m) {
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

  inline __attribute__((always_inline)) void add_to(PairSums<T, D, W>& sums) const {
    GMCN_UNROLL
    for (int w = 0; w < W; ++w) sums.zeroth[w] += sum_of_lanes<T>(zeroth[w]);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) sums.first[d] += sum_of_lanes<T>(first[d]);
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) sums.second[p] += sum_of_lanes<T>(second[p]);
  }
};

template <typename T, int D, int W, bool kPositionGradients>
void backward(const WeightedGaussian<T, D, W>* gaussians, std::int64_t n, const T* const coordinates[D],
              std::int64_t points, const Culling<T, D>* culling, const T* const upstream[W], PairSums<T, D, W>* sums,
              T* const position_gradients[D]) {
  // Copies that no store can alias: else every iteration would read the pointers again.
  const T *x_rows[D], *upstream_rows[W];
  T* gradient_rows[D];
  for (int d = 0; d < D; ++d) {
    x_rows[d] = coordinates[d];
    gradient_rows[d] = kPositionGradients ? position_gradients[d] : nullptr;
  }
  for (int w = 0; w < W; ++w) upstream_rows[w] = upstream[w];
  constexpr std::int64_t kGroup = kUnroll * kLanes<T>;
  constexpr std::int64_t kBlock = 1024;  // points whose coordinates and gradients stay in the first cache
  for (std::int64_t i = 0; i < n; ++i) sums[i] = {};
  for (std::int64_t begin = 0; begin < points; begin += kBlock) {
    const std::int64_t end = begin + kBlock < points ? begin + kBlock : points;
    for (std::int64_t i = 0; i < n; ++i) {
      LaneSums<T, D, W> lanes;
      if (culling) {
        std::int32_t near[kBlock / kGroup], count = 0;
        for_each_near<T, D>(gaussians[i].gaussian, *culling, begin / kGroup, end / kGroup,
                            [&](std::int64_t group) { near[count++] = static_cast<std::int32_t>(group); });
        for (std::int32_t k = 0; k < count; ++k)
          lanes.template add<kPositionGradients>(gaussians[i], x_rows, upstream_rows, gradient_rows, near[k] * kGroup);
      } else {
        for (std::int64_t m = begin; m < end; m += kGroup)
          lanes.template add<kPositionGradients>(gaussians[i], x_rows, upstream_rows, gradient_rows, m);
      }
      lanes.add_to(sums[i]);
    }
  }
}

template <typename T, int D, int W>
PairKernels<T, D, W> kernels() {
  return {prepare<T, D, W>, kUnroll * kLanes<T>, evaluate<T, D, W>, backward<T, D, W, true>, backward<T, D, W, false>};
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
