// Sums over all components of a convolution at its nodes: a node is owned by a lane, or by the same lane of several
// warps, which take different components and add up what they found in a fixed order. Components are made and whitened
// for each tile anew, so that nothing is stored for them.
#pragma once

#include "../common/block.cuh"
#include "../common/relu_nodes.h"
#include "../evaluate/pairs.cuh"
#include "operation.h"

namespace gmcn {

// The first of a component's two weights adds to the positive part, the second to the rest.
template <typename T, int D>
struct PreparedConvolution {
  Convolved<T, D> source;

  struct Parts {
    __device__ T operator()(const Gaussian<T, D>& g, int part) const {
      return part == 0 ? positive_part(g.weight) : -positive_part(-g.weight);
    }
  };
  __device__ PreparedGaussian<T, D, 2> operator()(std::int64_t b, std::int64_t i) const {
    return prepared<T, D, 2>(source(b, static_cast<std::int32_t>(i)), Parts());
  }
};

// Pairs says what is added up: kSums sums at a Point point(b, m), m < count(b) <= n; add(gaussian, point, sums) one
// more term of each; finish(b, m, sums). A lane owns P nodes; `owners` warps own different ones.
template <typename T, int D, int P, typename Pairs>
__global__ void __launch_bounds__(kPairThreads)
    sums_at_nodes(PreparedConvolution<T, D> gaussians, std::int64_t components, std::int64_t n, int owners,
                  Pairs pairs) {
  __shared__ PreparedGaussian<T, D, 2> tile[kPairThreads];
  __shared__ T shown[kPairThreads];
  const auto [b, begin] = place_of_block(n, owners * 32 * P);
  const std::int64_t nodes = pairs.count(b);
  if (begin >= nodes) return;
  const int slice = warp() / owners, slices = warps() / owners;
  const auto node = [&, owner = warp() % owners](int p) { return begin + (owner * P + p) * 32 + lane(); };
  typename Pairs::Point point[P];
  T total[P][Pairs::kSums] = {};
  GMCN_UNROLL
  for (int p = 0; p < P; ++p) point[p] = pairs.point(b, node(p) < nodes ? node(p) : nodes - 1);
  for (std::int64_t first = 0; first < components; first += kPairThreads) {
    const int count = static_cast<int>(components - first < kPairThreads ? components - first : kPairThreads);
    __syncthreads();  // the last tile has been read
    if (threadIdx.x < count) tile[threadIdx.x] = gaussians(b, first + threadIdx.x);
    __syncthreads();
    T run[P][Pairs::kSums] = {};
#pragma unroll 2
    for (int i = slice; i < count; i += slices) {
      const PreparedGaussian<T, D, 2> g = tile[i];
      GMCN_UNROLL
      for (int p = 0; p < P; ++p) Pairs::add(g, point[p], run[p]);
    }
    GMCN_UNROLL
    for (int p = 0; p < P; ++p) {
      GMCN_UNROLL
      for (int s = 0; s < Pairs::kSums; ++s) total[p][s] += run[p][s];
    }
  }
  GMCN_UNROLL
  for (int p = 0; p < P; ++p) {
    GMCN_UNROLL
    for (int s = 0; s < Pairs::kSums; ++s) {
      __syncthreads();
      shown[threadIdx.x] = total[p][s];
      __syncthreads();
      total[p][s] = 0;
      for (int other = warp() % owners * 32 + lane(); other < kPairThreads; other += owners * 32)
        total[p][s] += shown[other];
    }
    if (slice == 0 && node(p) < nodes) pairs.finish(b, node(p), total[p]);
  }
}

// For nodes [b, n]; a lane owns as many as there are for it.
template <typename T, int D, typename Pairs>
void add_at_nodes(const Batch<Convolved<T, D>>& mixtures, std::int64_t n, const OnDevice& on, const Pairs& pairs) {
  const PreparedConvolution<T, D> gaussians{mixtures.source};
  const auto launch_for = [&](auto per_lane) {
    const std::int64_t warps = blocks_for(n, 32 * per_lane);
    const int owners = warps > 2 ? 4 : static_cast<int>(warps);
    launch(sums_at_nodes<T, D, per_lane, Pairs>, mixtures.b * blocks_for(n, owners * 32 * per_lane), kPairThreads, 0,
           on.stream, gaussians, mixtures.n, n, owners, pairs);
  };
  if (n <= 32)
    launch_for(std::integral_constant<int, 1>());
  else if (n <= 64)
    launch_for(std::integral_constant<int, 2>());
  else
    launch_for(std::integral_constant<int, 4>());
}

// Values of the positive part and of the rest: f, g and the weight of every node.
template <typename T, int D>
struct ValuesAtNodes {
  static constexpr int kSums = 2;
  struct Point {
    T x[D];
  };
  std::int64_t n;
  const std::int32_t* used;  // [B]
  Rows<T, D> result;         // [B, n]
  NodeRows<T, std::int16_t> kept;

  __device__ std::int64_t count(std::int64_t b) const { return used[b]; }
  __device__ Point point(std::int64_t b, std::int64_t m) const {
    Point point;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) point.x[d] = result.positions[(b * n + m) * D + d];
    return point;
  }
  __device__ static void add(const PreparedGaussian<T, D, 2>& g, const Point& point, T* values) {
    add_values<T, D, 2>(g, point.x, values);
  }
  __device__ void finish(std::int64_t b, std::int64_t m, const T* values) const {
    const std::int64_t row = b * n + m;
    const T g = values[0], f = values[0] + values[1];
    kept.f[row] = f, kept.g[row] = g;
    result.weights[row] = node_weight(kept.mass[row], f, g);
  }
};

// Gradients of the nodes' positions, added to what they have already.
template <typename T, int D>
struct GradientsOfNodes {
  static constexpr int kSums = D;
  using Point = UpstreamPoint<T, D, 2>;
  std::int64_t n;
  const Point* points;  // [B, n]
  T* of_positions;      // [B, n, D]

  __device__ std::int64_t count(std::int64_t) const { return n; }
  __device__ const Point& point(std::int64_t b, std::int64_t m) const { return points[b * n + m]; }
  __device__ static void add(const PreparedGaussian<T, D, 2>& g, const Point& point, T* sums) {
    add_of_point<T, D, 2>(g, point, sums);
  }
  __device__ void finish(std::int64_t b, std::int64_t m, const T* sums) const {
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) of_positions[(b * n + m) * D + d] += T(kOfPoint) * sums[d];
  }
};

}  // namespace gmcn
