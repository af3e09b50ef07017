// evaluate on CUDA: equation (2) at any points, and its gradient.
#include "pairs.cuh"

namespace gmcn {

namespace {

struct EvaluateSizes {
  std::int64_t b, n, m, d;
};

EvaluateSizes check(const Tensor& weights, const Tensor& positions, const Tensor& covariances, const Tensor& points) {
  STD_TORCH_CHECK(weights.dim() == 2 && points.dim() == 3, "evaluate: expected weights [B, N] and points [B, M, D]");
  const EvaluateSizes s{weights.size(0), weights.size(1), points.size(1), points.size(2)};
  check_shape(positions, "positions", {s.b, s.n, s.d});
  check_shape(covariances, "covariances", {s.b, s.n, s.d, s.d});
  check_shape(points, "points", {s.b, s.m, s.d});
  return s;
}

template <typename T, int D>
struct GivenPoints {
  const T* x;  // [B, M, D]
  std::int64_t m;

  __device__ std::int64_t count(std::int64_t) const { return m; }
  __device__ void operator()(std::int64_t b, std::int64_t at, T* point) const {
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) point[d] = x[(b * m + at) * D + d];
  }
};

template <typename T, int D>
struct OwnWeight {
  __device__ T operator()(const Gaussian<T, D>& g, int) const { return g.weight; }
};

template <typename T>
struct WriteValue {
  T* values;  // [B, M]
  std::int64_t m;

  __device__ void operator()(std::int64_t b, std::int64_t at, const T* value) const { values[b * m + at] = value[0]; }
};

template <typename T, int D>
struct WriteGradient {
  Rows<T, D> gradients;  // [B, N]
  std::int64_t n;

  __device__ void operator()(std::int64_t b, std::int32_t i, Gaussian<T, D> gradient, const T* of_weights) const {
    gradient.weight = of_weights[0];
    gradients.write(b * n + i, gradient);
  }
};

template <typename T, int D>
struct WritePointGradient {
  T* gradients;  // [B, M, D]
  std::int64_t m;

  __device__ void operator()(std::int64_t b, std::int64_t at, const T* gradient) const {
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) gradients[(b * m + at) * D + d] = gradient[d];
  }
};

template <typename T, int D>
__global__ void __launch_bounds__(kPairThreads)
    join_upstream(const T* x, const T* upstream, std::int64_t count, UpstreamPoint<T, D, 1>* result) {
  const std::int64_t m = blockIdx.x * std::int64_t{kPairThreads} + threadIdx.x;
  if (m >= count) return;
  UpstreamPoint<T, D, 1> point;
  for (int d = 0; d < D; ++d) point.x[d] = x[m * D + d];
  point.upstream[0] = upstream[m];
  result[m] = point;
}

}  // namespace

// `cutoff` permits to leave pairs out; here all are computed.
Tensor evaluate_cuda(Tensor weights,      // [B, N]
                     Tensor positions,    // [B, N, D]
                     Tensor covariances,  // [B, N, D, D]
                     Tensor points,       // [B, M, D]
                     double /*cutoff*/) {
  const EvaluateSizes s = check(weights, positions, covariances, points);
  make_contiguous({&weights, &positions, &covariances, &points});
  Tensor result = empty_like_of(weights, {s.b, s.m});
  if (s.b * s.m == 0) return result;
  const OnDevice on(weights);
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const Scratch<PreparedGaussian<T, D, 1>> gaussians(weights, s.b * s.n);
    launch(prepare_gaussians<T, D, 1, Stored<T, D>, OwnWeight<T, D>>, s.b * blocks_for(s.n, kPairThreads), kPairThreads,
           0, on.stream, stored<T, D>(weights, positions, covariances), s.n, OwnWeight<T, D>(), gaussians.data());
    const GivenPoints<T, D> at{points.const_data_ptr<T>(), s.m};
    const WriteValue<T> write{result.mutable_data_ptr<T>(), s.m};
    launch_by_rows<kPointsPerThread>(s.b, s.m, [&](auto per_thread, std::int64_t blocks) {
      launch(evaluate_pairs<T, D, 1, per_thread, GivenPoints<T, D>, WriteValue<T>>, blocks, kPairThreads, 0, on.stream,
             gaussians.data(), s.n, at, s.m, write);
    });
  });
  return result;
}

// Gradients with respect to weights, positions, covariances and, if wanted, points (else empty).
std::tuple<Tensor, Tensor, Tensor, Tensor> evaluate_backward_cuda(Tensor gradient,  // [B, M]
                                                                  Tensor weights, Tensor positions, Tensor covariances,
                                                                  Tensor points, double /*cutoff*/,
                                                                  bool points_gradient) {
  const EvaluateSizes s = check(weights, positions, covariances, points);
  check_shape(gradient, "gradient", {s.b, s.m});
  make_contiguous({&gradient, &weights, &positions, &covariances, &points});
  Tensor w = empty_like_of(weights, {s.b, s.n}), p = empty_like_of(weights, {s.b, s.n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.n, s.d, s.d});
  Tensor x = zeros_like_of(weights, {points_gradient ? s.b : 0, s.m, s.d});
  if (s.b * s.n == 0) return {w, p, c, x};
  const OnDevice on(weights);
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const Scratch<PreparedGaussian<T, D, 1>> gaussians(weights, s.b * s.n);
    const Scratch<UpstreamPoint<T, D, 1>> upstream(weights, s.b * s.m);
    launch(prepare_gaussians<T, D, 1, Stored<T, D>, OwnWeight<T, D>>, s.b * blocks_for(s.n, kPairThreads), kPairThreads,
           0, on.stream, stored<T, D>(weights, positions, covariances), s.n, OwnWeight<T, D>(), gaussians.data());
    launch(join_upstream<T, D>, blocks_for(s.b * s.m, kPairThreads), kPairThreads, 0, on.stream,
           points.const_data_ptr<T>(), gradient.const_data_ptr<T>(), s.b * s.m, upstream.data());
    const GivenPoints<T, D> at{points.const_data_ptr<T>(), s.m};
    const WriteGradient<T, D> write_gaussian{rows_of<T, D>(w, p, c), s.n};
    launch_by_rows<kGaussiansPerThread>(s.b, s.n, [&](auto per_thread, std::int64_t blocks) {
      launch(gradients_of_gaussians<T, D, 1, per_thread, GivenPoints<T, D>, WriteGradient<T, D>>, blocks, kPairThreads,
             0, on.stream, gaussians.data(), s.n, upstream.data(), at, s.m, write_gaussian);
    });
    if (!points_gradient) return;
    const WritePointGradient<T, D> write{x.mutable_data_ptr<T>(), s.m};
    launch_by_rows<kPointsPerThread>(s.b, s.m, [&](auto per_thread, std::int64_t blocks) {
      launch(gradients_of_points<T, D, 1, per_thread, GivenPoints<T, D>, WritePointGradient<T, D>>, blocks,
             kPairThreads, 0, on.stream, gaussians.data(), s.n, upstream.data(), at, s.m, write);
    });
  });
  return {w, p, c, x};
}

GMCN_REGISTER_CUDA(m) {
  m.impl("evaluate", TORCH_BOX(&evaluate_cuda));
  m.impl("evaluate_backward", TORCH_BOX(&evaluate_backward_cuda));
}

}  // namespace gmcn
