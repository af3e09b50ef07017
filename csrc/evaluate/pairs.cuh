// Sums over pairs of a Gaussian and a point on a GPU; the counterpart of pairs_kernel.h. Threads own points (values and
// gradients of points) or Gaussians (sums for their gradients), and stream the others through shared memory. Nothing is
// added by two threads: no atomics, and the same bits in every run.
//
// Where a covariance is not positive definite its weights become not-a-number, and with them all that they touch.
#pragma once

#include "../common/block.cuh"
#include "../common/components.h"
#include "../common/gaussian.h"

namespace gmcn {

inline constexpr int kPairThreads = 128;       // of a block, and Gaussians or points of a tile
inline constexpr int kPointsPerThread = 4;     // that share each Gaussian's way from shared memory to registers
inline constexpr int kGaussiansPerThread = 2;  // that share each point's
inline constexpr std::int64_t kBusy = 1024;    // blocks that keep any GPU busy

// A whitened Gaussian with W weights times its normalisation, in whole 16 bytes.
template <typename T, int D, int W>
struct alignas(16) PreparedGaussian {
  T position[D];
  T factor[kPacked<D>];
  T weights[W];
  T scale;
};

// weights(g, w) is weight w of a component g.
template <typename T, int D, int W, typename F>
__device__ PreparedGaussian<T, D, W> prepared(const Gaussian<T, D>& g, const F& weights) {
  PreparedGaussian<T, D, W> result;
  const bool good = whiten<T, D, T>(g.covariance, result.factor, result.scale);
  for (int d = 0; d < D; ++d) result.position[d] = g.position[d];
  for (int w = 0; w < W; ++w) result.weights[w] = good ? weights(g, w) * result.scale : T(NAN);
  return result;
}

// Rows [B, N] prepared once, kPairThreads of one mixture by each block.
template <typename T, int D, int W, typename Source, typename F>
__global__ void __launch_bounds__(kPairThreads)
    prepare_gaussians(Source source, std::int64_t n, F weights, PreparedGaussian<T, D, W>* result) {
  const auto [b, begin] = place_of_block(n, kPairThreads);
  const std::int64_t i = begin + threadIdx.x;
  if (i >= n) return;
  result[b * n + i] = prepared<T, D, W>(source(b, static_cast<std::int32_t>(i)), weights);
}

template <typename T, int D, int W>
struct PreparedRows {
  const PreparedGaussian<T, D, W>* rows;  // [B, N]
  std::int64_t n;

  __device__ const PreparedGaussian<T, D, W>& operator()(std::int64_t b, std::int64_t i) const {
    return rows[b * n + i];
  }
};

template <typename T, int D>
__device__ __forceinline__ T minus_squared_norm(const T* t) {
  T y = -t[0] * t[0];
  GMCN_UNROLL
  for (int i = 1; i < D; ++i) y -= t[i] * t[i];
  return y;
}

// The values of one Gaussian at a point, added.
template <typename T, int D, int W>
__device__ __forceinline__ void add_values(const PreparedGaussian<T, D, W>& g, const T* x, T* values) {
  T t[D];
  standardise<D>(x, g.position, g.factor, t);
  const T e = fast_exp2(minus_squared_norm<T, D>(t));
  GMCN_UNROLL
  for (int w = 0; w < W; ++w) values[w] += e * g.weights[w];
}

// Copies `count` objects into shared memory in 16-byte steps and lets all threads see them.
template <typename V>
__device__ __forceinline__ void load_tile(const V* from, int count, V* tile) {
  static_assert(sizeof(V) % 16 == 0);
  struct alignas(16) Piece {
    unsigned words[4];
  };
  constexpr int kPieces = sizeof(V) / 16;
  __syncthreads();  // the last tile has been read
  const Piece* const pieces = reinterpret_cast<const Piece*>(from);
  for (int i = static_cast<int>(threadIdx.x); i < count * kPieces; i += kPairThreads)
    reinterpret_cast<Piece*>(tile)[i] = pieces[i];
  __syncthreads();
}

// Values of W weighted sums at P points per thread. Points are points(b, m) for m < count(b) <= m_most, and
// finish(b, m, values) takes what was found there.
template <typename T, int D, int W, int P, typename Points, typename Finish>
__global__ void __launch_bounds__(kPairThreads)
    evaluate_pairs(const PreparedGaussian<T, D, W>* gaussians, std::int64_t n, Points points, std::int64_t m_most,
                   Finish finish) {
  __shared__ PreparedGaussian<T, D, W> tile[kPairThreads];
  const auto [b, begin] = place_of_block(m_most, kPairThreads * P);
  const std::int64_t m_count = points.count(b);
  if (begin >= m_count) return;
  T x[P][D], total[P][W] = {};
  GMCN_UNROLL
  for (int p = 0; p < P; ++p) {  // beyond the end: the last point again
    const std::int64_t m = begin + p * kPairThreads + threadIdx.x;
    points(b, m < m_count ? m : m_count - 1, x[p]);
  }
  for (std::int64_t first = 0; first < n; first += kPairThreads) {
    const int count = static_cast<int>(n - first < kPairThreads ? n - first : kPairThreads);
    load_tile(gaussians + b * n + first, count, tile);
    T run[P][W] = {};
    for (int i = 0; i < count; ++i) {
      const PreparedGaussian<T, D, W> g = tile[i];
      GMCN_UNROLL
      for (int p = 0; p < P; ++p) add_values<T, D, W>(g, x[p], run[p]);
    }
    GMCN_UNROLL
    for (int p = 0; p < P; ++p) {
      GMCN_UNROLL
      for (int w = 0; w < W; ++w) total[p][w] += run[p][w];
    }
  }
  GMCN_UNROLL
  for (int p = 0; p < P; ++p) {
    const std::int64_t m = begin + p * kPairThreads + threadIdx.x;
    if (m < m_count) finish(b, m, total[p]);
  }
}

// Calls launch_one(rows per thread, blocks) for B x `rows` points or Gaussians: with one per thread, not `Most`, where
// there are few blocks.
template <int Most, typename F>
void launch_by_rows(std::int64_t b, std::int64_t rows, const F& launch_one) {
  const std::int64_t blocks = b * blocks_for(rows, kPairThreads * Most);
  if (blocks >= kBusy)
    launch_one(std::integral_constant<int, Most>(), blocks);
  else
    launch_one(std::integral_constant<int, 1>(), b * blocks_for(rows, kPairThreads));
}

// A point with the upstream gradients of its W values, in whole 16 bytes.
template <typename T, int D, int W>
struct alignas(16) UpstreamPoint {
  T x[D];
  T upstream[W];
};

// Sums over points for the gradients of one Gaussian.
template <typename T, int D, int W>
struct GaussianSums {
  T zeroth[W], first[D], second[kPacked<D>];

  __device__ __forceinline__ void add(const PreparedGaussian<T, D, W>& g, const UpstreamPoint<T, D, W>& point) {
    T t[D], h = 0;
    standardise<D>(point.x, g.position, g.factor, t);
    const T e = fast_exp2(minus_squared_norm<T, D>(t));
    GMCN_UNROLL
    for (int w = 0; w < W; ++w) {
      zeroth[w] += e * point.upstream[w];
      h += g.weights[w] * point.upstream[w];
    }
    h *= e;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) first[d] += h * t[d];
    add_outer<T, D>(h, t, second);
  }
  __device__ __forceinline__ void add(const GaussianSums& other) {
    GMCN_UNROLL
    for (int w = 0; w < W; ++w) zeroth[w] += other.zeroth[w];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) first[d] += other.first[d];
    add_scaled<T, D>(T(1), other.second, second);
  }
};

// Gradients of Gaussians: G of them per thread, over points of `upstream` [B, m_most]. gaussians(b, i) is a prepared
// one; finish(b, i, gradient, weights) takes the gradient without weights, and those of the W weights.
template <typename T, int D, int W, int G, typename Gaussians, typename Points, typename Finish>
__global__ void __launch_bounds__(kPairThreads)
    gradients_of_gaussians(Gaussians gaussians, std::int64_t n, const UpstreamPoint<T, D, W>* upstream, Points points,
                           std::int64_t m_most, Finish finish) {
  __shared__ UpstreamPoint<T, D, W> tile[kPairThreads];
  const auto [b, begin] = place_of_block(n, kPairThreads * G);
  const std::int64_t m_count = points.count(b);
  PreparedGaussian<T, D, W> g[G];
  GaussianSums<T, D, W> total[G] = {};
  GMCN_UNROLL
  for (int j = 0; j < G; ++j) {  // beyond the end: the last one again
    const std::int64_t i = begin + j * kPairThreads + threadIdx.x;
    g[j] = gaussians(b, i < n ? i : n - 1);
  }
  for (std::int64_t start = 0; start < m_count; start += kPairThreads) {
    const int count = static_cast<int>(m_count - start < kPairThreads ? m_count - start : kPairThreads);
    load_tile(upstream + b * m_most + start, count, tile);
    GaussianSums<T, D, W> run[G] = {};
#pragma unroll 2
    for (int k = 0; k < count; ++k) {
      const UpstreamPoint<T, D, W> point = tile[k];
      GMCN_UNROLL
      for (int j = 0; j < G; ++j) run[j].add(g[j], point);
    }
    GMCN_UNROLL
    for (int j = 0; j < G; ++j) total[j].add(run[j]);
  }
  GMCN_UNROLL
  for (int j = 0; j < G; ++j) {
    const std::int64_t i = begin + j * kPairThreads + threadIdx.x;
    if (i >= n) return;
    Gaussian<T, D> gradient = {};
    T weight_gradients[W], weighted_zeroth = 0;
    for (int w = 0; w < W; ++w) {
      weight_gradients[w] = g[j].scale * total[j].zeroth[w];
      weighted_zeroth += g[j].weights[w] * total[j].zeroth[w];
    }
    whitened_vjp<T, D>(g[j].factor, weighted_zeroth, total[j].first, total[j].second, gradient.position,
                       gradient.covariance);
    finish(b, static_cast<std::int32_t>(i), gradient, weight_gradients);
  }
}

// What one Gaussian adds to the gradient of a point, but for the factor kOfPoint.
inline constexpr double kOfPoint = -kLn2Times2;
template <typename T, int D, int W>
__device__ __forceinline__ void add_of_point(const PreparedGaussian<T, D, W>& g, const UpstreamPoint<T, D, W>& at,
                                             T* sums) {
  T t[D], h = 0;
  standardise<D>(at.x, g.position, g.factor, t);
  GMCN_UNROLL
  for (int w = 0; w < W; ++w) h += g.weights[w] * at.upstream[w];
  h *= fast_exp2(minus_squared_norm<T, D>(t));
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) t[d] *= h;
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) {
    GMCN_UNROLL
    for (int c = d; c < D; ++c) sums[d] += t[c] * g.factor[c * (c + 1) / 2 + d];
  }
}

// Gradients of points: thread by point. finish(b, m, gradient) takes dL/dx.
template <typename T, int D, int W, int P, typename Points, typename Finish>
__global__ void __launch_bounds__(kPairThreads)
    gradients_of_points(const PreparedGaussian<T, D, W>* gaussians, std::int64_t n,
                        const UpstreamPoint<T, D, W>* upstream, Points points, std::int64_t m_most, Finish finish) {
  __shared__ PreparedGaussian<T, D, W> tile[kPairThreads];
  const auto [b, begin] = place_of_block(m_most, kPairThreads * P);
  const std::int64_t m_count = points.count(b);
  if (begin >= m_count) return;
  UpstreamPoint<T, D, W> at[P];
  T total[P][D] = {};
  GMCN_UNROLL
  for (int p = 0; p < P; ++p) {
    const std::int64_t m = begin + p * kPairThreads + threadIdx.x;
    at[p] = upstream[b * m_most + (m < m_count ? m : m_count - 1)];
  }
  for (std::int64_t first = 0; first < n; first += kPairThreads) {
    const int count = static_cast<int>(n - first < kPairThreads ? n - first : kPairThreads);
    load_tile(gaussians + b * n + first, count, tile);
    T run[P][D] = {};
    for (int i = 0; i < count; ++i) {
      const PreparedGaussian<T, D, W> g = tile[i];
      GMCN_UNROLL
      for (int p = 0; p < P; ++p) add_of_point<T, D, W>(g, at[p], run[p]);
    }
    GMCN_UNROLL
    for (int p = 0; p < P; ++p) {
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) total[p][d] += run[p][d];
    }
  }
  GMCN_UNROLL
  for (int p = 0; p < P; ++p) {
    const std::int64_t m = begin + p * kPairThreads + threadIdx.x;
    T gradient[D];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) gradient[d] = T(kOfPoint) * total[p][d];
    if (m < m_count) finish(b, m, gradient);
  }
}

}  // namespace gmcn
