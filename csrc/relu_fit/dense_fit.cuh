// The dense fit on CUDA, equations (6) and (7), for components from any source. Centres whose coarse weight is zero are
// not visited: with offset 0 about half of all pairs vanish. Their list is made on the device, which nobody waits for.
#pragma once

#include "../common/block.cuh"
#include "../common/relu_fit.h"
#include "../evaluate/pairs.cuh"

namespace gmcn {

inline constexpr int kListThreads = 256;

template <typename T>
struct FitConstants {
  T offset, s0, s1;
};

template <typename T, int D>
struct BothWeights {
  T offset;
  __device__ T operator()(const Gaussian<T, D>& g, int w) const {
    return w == 0 ? g.weight : coarse_weight(g.weight, offset);
  }
};

// Centres that count, in order: active [B, N] and how many of them, counts [B]. One block per mixture.
template <typename T, int D, typename Source>
__global__ void __launch_bounds__(kListThreads)
    list_active(Source source, std::int64_t n, T offset, std::int32_t* active, std::int32_t* counts) {
  const std::int64_t b = blockIdx.x;
  if (threadIdx.x == 0) counts[b] = 0;
  const auto is_active = [&](std::int64_t i) {
    return !(coarse_weight(source(b, static_cast<std::int32_t>(i)).weight, offset) <= T(0)) ? 1 : 0;
  };
  block_scan<std::int32_t>(n, is_active, [&](std::int64_t i, std::int32_t until_here) {
    if (is_active(i)) active[b * n + until_here - 1] = static_cast<std::int32_t>(i);
    if (i == n - 1) counts[b] = until_here;
  });
}

template <typename T, int D>
struct ActiveCentres {
  const PreparedGaussian<T, D, 2>* gaussians;  // [B, N]
  const std::int32_t* active;                  // [B, N]
  const std::int32_t* counts;                  // [B]
  std::int64_t n;

  __device__ std::int64_t count(std::int64_t b) const { return counts[b]; }
  __device__ std::int64_t row(std::int64_t b, std::int64_t m) const { return b * n + active[b * n + m]; }
  __device__ void operator()(std::int64_t b, std::int64_t m, T* x) const {
    const PreparedGaussian<T, D, 2>& g = gaussians[row(b, m)];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) x[d] = g.position[d];
  }
};

template <typename T, int D, typename Source>
struct WriteFit {
  ActiveCentres<T, D> centres;
  Source source;
  FitConstants<T> constants;
  T *result, *f, *g;  // [B, N]

  __device__ void operator()(std::int64_t b, std::int64_t m, const T* values) const {
    const std::int64_t row = centres.row(b, m);
    const T coarse = coarse_weight(source(b, centres.active[b * centres.n + m]).weight, constants.offset);
    f[row] = values[0], g[row] = values[1];
    result[row] = corrected_weight<T>(coarse, values[0], values[1], constants.s0, constants.s1);
  }
};

// The upstream gradients of f and g at active centres, and of the coarse weights.
template <typename T, int D, typename Source>
__global__ void __launch_bounds__(kPairThreads)
    fit_upstream(ActiveCentres<T, D> centres, Source source, FitConstants<T> constants, std::int64_t b_count,
                 const T* upstream, const T* f, const T* g, UpstreamPoint<T, D, 2>* points, T* of_coarse) {
  const std::int64_t at = blockIdx.x * std::int64_t{kPairThreads} + threadIdx.x;
  if (at >= b_count * centres.n) return;
  const std::int64_t b = at / centres.n, m = at % centres.n;
  if (m >= centres.count(b)) return;
  const std::int64_t row = centres.row(b, m);
  const T coarse = coarse_weight(source(b, centres.active[at]).weight, constants.offset);
  UpstreamPoint<T, D, 2> point;
  centres(b, m, point.x);
  corrected_weight_vjp<T>(upstream[row], coarse, f[row], g[row], constants.s0, constants.s1, of_coarse[at],
                          point.upstream[0], point.upstream[1]);
  points[at] = point;
}

template <typename T, int D, typename Source>
struct WriteFitGradient {
  Source source;
  Rows<T, D> gradients;  // [B, N]
  std::int64_t n;

  __device__ void operator()(std::int64_t b, std::int32_t i, Gaussian<T, D> gradient, const T* of_weights) const {
    gradient.weight = of_weights[0] + coarse_weight_vjp<T>(of_weights[1], source(b, i).weight);
    gradients.write(b * n + i, gradient);
  }
};

// What a centre's gradient has because values were taken there, added to what it has as a component.
template <typename T, int D, typename Source>
struct AddCentreGradient {
  ActiveCentres<T, D> centres;
  Source source;
  const T* of_coarse;    // [B, N], of active centres
  Rows<T, D> gradients;  // [B, N]

  __device__ void operator()(std::int64_t b, std::int64_t m, const T* of_point) const {
    const std::int64_t at = b * centres.n + m, row = centres.row(b, m);
    gradients.weights[row] += coarse_weight_vjp<T>(of_coarse[at], source(b, centres.active[at]).weight);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) gradients.positions[row * D + d] += of_point[d];
  }
};

// One batch of mixtures [B, N], prepared.
template <typename T, int D, typename Source>
class BatchedDenseFit {
 public:
  BatchedDenseFit(const Tensor& like, const OnDevice& on, const Source& source, std::int64_t b, std::int64_t n,
                  FitConstants<T> constants)
      : like_(like),
        on_(on),
        source_(source),
        b_(b),
        n_(n),
        constants_(constants),
        gaussians_(like, b * n),
        active_(like, b * n),
        counts_(like, b) {
    launch(prepare_gaussians<T, D, 2, Source, BothWeights<T, D>>, blocks_for(b * n, kPairThreads), kPairThreads, 0,
           on.stream, source, b, n, BothWeights<T, D>{constants.offset}, gaussians_.data());
    launch(list_active<T, D, Source>, b, kListThreads, 0, on.stream, source, n, constants.offset, active_.data(),
           counts_.data());
  }

  // Writes the rows of active centres.
  void forward(T* result, T* f, T* g) const {
    const WriteFit<T, D, Source> write{centres(), source_, constants_, result, f, g};
    launch_by_points(b_, n_, [&](auto per_thread, std::int64_t blocks) {
      launch(evaluate_pairs<T, D, 2, per_thread, ActiveCentres<T, D>, WriteFit<T, D, Source>>, blocks, kPairThreads, 0,
             on_.stream, gaussians_.data(), n_, centres(), n_, write);
    });
  }

  // Writes the gradients of all components.
  void backward(const T* upstream, const T* f, const T* g, const Rows<T, D>& gradients) const {
    const Scratch<UpstreamPoint<T, D, 2>> points(like_, b_ * n_);
    const Scratch<T> of_coarse(like_, b_ * n_);
    launch(fit_upstream<T, D, Source>, blocks_for(b_ * n_, kPairThreads), kPairThreads, 0, on_.stream, centres(),
           source_, constants_, b_, upstream, f, g, points.data(), of_coarse.data());
    launch(gradients_of_gaussians<T, D, 2, ActiveCentres<T, D>, WriteFitGradient<T, D, Source>>,
           b_ * blocks_for(n_, kPairThreads), kPairThreads, 0, on_.stream, gaussians_.data(), n_, points.data(),
           centres(), n_, WriteFitGradient<T, D, Source>{source_, gradients, n_});
    const AddCentreGradient<T, D, Source> add{centres(), source_, of_coarse.data(), gradients};
    launch_by_points(b_, n_, [&](auto per_thread, std::int64_t blocks) {
      launch(gradients_of_points<T, D, 2, per_thread, ActiveCentres<T, D>, AddCentreGradient<T, D, Source>>, blocks,
             kPairThreads, 0, on_.stream, gaussians_.data(), n_, points.data(), centres(), n_, add);
    });
  }

 private:
  ActiveCentres<T, D> centres() const { return {gaussians_.data(), active_.data(), counts_.data(), n_}; }

  const Tensor& like_;
  const OnDevice& on_;
  Source source_;
  std::int64_t b_, n_;
  FitConstants<T> constants_;
  Scratch<PreparedGaussian<T, D, 2>> gaussians_;
  Scratch<std::int32_t> active_, counts_;
};

}  // namespace gmcn
