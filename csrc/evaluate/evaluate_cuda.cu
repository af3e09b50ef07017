// evaluate on CUDA: equation (2) at any points, and its gradient.
#include "operation.h"
#include "pairs.cuh"

namespace gmcn {

namespace {

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

template <typename T, int D>
Scratch<PreparedGaussian<T, D, 1>> prepare(const Batch<Stored<T, D>>& mixtures, const OnDevice& on) {
  const Scratch<PreparedGaussian<T, D, 1>> gaussians(mixtures.like, mixtures.b * mixtures.n);
  launch(prepare_gaussians<T, D, 1, Stored<T, D>, OwnWeight<T, D>>, mixtures.b * blocks_for(mixtures.n, kPairThreads),
         kPairThreads, 0, on.stream, mixtures.source, mixtures.n, OwnWeight<T, D>(), gaussians.data());
  return gaussians;
}

// The cutoff permits to leave pairs out; here all are computed.
struct Cuda {
  template <typename T, int D>
  static void forward(const Batch<Stored<T, D>>& mixtures,
                      const T* points,  // [B, M, D]
                      std::int64_t m, double /*cutoff*/,
                      T* values) {  // [B, M]
    if (mixtures.b * m == 0) return;
    const OnDevice on(mixtures.like);
    const auto gaussians = prepare(mixtures, on);
    const GivenPoints<T, D> at{points, m};
    const WriteValue<T> write{values, m};
    launch_by_rows<kPointsPerThread>(mixtures.b, m, [&](auto per_thread, std::int64_t blocks) {
      launch(evaluate_pairs<T, D, 1, per_thread, GivenPoints<T, D>, WriteValue<T>>, blocks, kPairThreads, 0, on.stream,
             gaussians.data(), mixtures.n, at, m, write);
    });
  }

  template <typename T, int D>
  static void backward(const Batch<Stored<T, D>>& mixtures,
                       const T* points,  // [B, M, D]
                       std::int64_t m, double /*cutoff*/,
                       const T* gradient,  // [B, M]
                       const Rows<T, D>& result,
                       T* of_points) {  // [B, M, D], or null
    const OnDevice on(mixtures.like);
    const std::int64_t b = mixtures.b, n = mixtures.n;
    const auto gaussians = prepare(mixtures, on);
    const Scratch<UpstreamPoint<T, D, 1>> upstream(mixtures.like, b * m);
    launch(join_upstream<T, D>, blocks_for(b * m, kPairThreads), kPairThreads, 0, on.stream, points, gradient, b * m,
           upstream.data());
    const GivenPoints<T, D> at{points, m};
    const WriteGradient<T, D> write_gaussian{result, n};
    const PreparedRows<T, D, 1> rows{gaussians.data(), n};
    launch_by_rows<kGaussiansPerThread>(b, n, [&](auto per_thread, std::int64_t blocks) {
      launch(gradients_of_gaussians<T, D, 1, per_thread, PreparedRows<T, D, 1>, GivenPoints<T, D>, WriteGradient<T, D>>,
             blocks, kPairThreads, 0, on.stream, rows, n, upstream.data(), at, m, write_gaussian);
    });
    if (!of_points) return;
    const WritePointGradient<T, D> write{of_points, m};
    launch_by_rows<kPointsPerThread>(b, m, [&](auto per_thread, std::int64_t blocks) {
      launch(gradients_of_points<T, D, 1, per_thread, GivenPoints<T, D>, WritePointGradient<T, D>>, blocks,
             kPairThreads, 0, on.stream, gaussians.data(), n, upstream.data(), at, m, write);
    });
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) {
  m.impl("evaluate", TORCH_BOX(&Evaluate<Cuda>::forward));
  m.impl("evaluate_backward", TORCH_BOX(&Evaluate<Cuda>::backward));
}

}  // namespace gmcn
