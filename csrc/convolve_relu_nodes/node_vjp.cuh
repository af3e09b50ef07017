// Gradients of the components of a convolution from those of its nodes.
#pragma once

#include "../common/moments.h"
#include "node_pairs.cuh"

namespace gmcn {

inline constexpr int kNodeThreads = 256;

// What a backward pass reads of the nodes [B G, n], and of every component its node.
template <typename T, int D>
struct Nodes {
  Stored<T, D> nodes, upstream;  // weights: mass, and the gradient of the result's weights
  NodeRows<const T, const std::int16_t> kept;
};

// Every node with the upstream gradients of the two parts of the convolution there, f = positive part + rest; and its
// own: that of its mass, of its covariance, and what its position has so far. Slots without a member are the last ones;
// they repeat the first node.
template <typename T, int D>
__global__ void __launch_bounds__(kNodeThreads)
    node_upstream(Nodes<T, D> nodes, std::int64_t count, UpstreamPoint<T, D, 2>* points, Rows<T, D> own) {
  const std::int64_t row = blockIdx.x * std::int64_t{kNodeThreads} + threadIdx.x;
  if (row >= count) return;
  const FitGradient<T> of =
      node_weight_vjp(nodes.upstream.weights[row], nodes.kept.mass[row], nodes.kept.f[row], nodes.kept.g[row]);
  UpstreamPoint<T, D, 2> point;
  for (int d = 0; d < D; ++d) point.x[d] = nodes.nodes.positions[row * D + d];
  point.upstream[0] = of.of_f + of.of_g, point.upstream[1] = of.of_f;
  points[row] = point;
  Gaussian<T, D> gradient = nodes.upstream.at(row);
  gradient.weight = of.of_x;
  const std::int64_t n = nodes.nodes.n;
  if (row % n == 0)
    for (std::int64_t slot = row + n - 1; slot > row && nodes.kept.mass[slot] == T(0); --slot)
      accumulate(nodes.upstream.at(slot), T(0), gradient);
  own.write(row, gradient);
}

template <typename T, int D>
struct AllNodes {
  std::int64_t n;
  __device__ std::int64_t count(std::int64_t) const { return n; }
};

// The gradient of a component, through the values at the nodes and through the moments of its own node.
template <typename T, int D>
struct WriteComponentGradient {
  Convolved<T, D> source;
  Stored<T, D> nodes, upstream;  // [B G, n], upstream: complete
  const std::int16_t* group;     // [B G, N F K]
  Rows<T, D> gradients;          // [B G, N F K]
  std::int64_t components;

  __device__ void operator()(std::int64_t b, std::int32_t i, Gaussian<T, D> gradient, const T* of_weights) const {
    const std::int64_t row = b * components + i;
    gradient.weight = of_weights[source.kernels.weights[source.kernel_row(b, i)] > T(0) ? 0 : 1];
    if (const std::int32_t node = group[row]; node >= 0) {
      const Gaussian<T, D> of_moments = moments_vjp<T, D>(source(b, i), nodes(b, node), upstream(b, node));
      accumulate(of_moments, of_moments.weight, gradient);
    }
    gradients.write(row, gradient);
  }
};

}  // namespace gmcn
