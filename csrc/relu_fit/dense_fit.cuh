// The dense fit on CUDA, equations (6) and (7), for components from any source. Centres whose coarse weight is zero are
// not visited, with offset 0 about half of all, and on the way back those whose gradient is zero, either. Their list is
// made on the device.
#pragma once

#include "../common/block.cuh"
#include "../common/relu_fit.h"
#include "../evaluate/pairs.cuh"
#include "operation.h"

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

// Centres i of mixture b for which counts(b, i), in order: listed [B, N] and how many of them, sizes [B]. One block per
// mixture.
template <typename F>
__global__ void __launch_bounds__(kListThreads)
    list_centres(F counts, std::int64_t n, std::int32_t* listed, std::int32_t* sizes) {
  const std::int64_t b = blockIdx.x;
  if (threadIdx.x == 0) sizes[b] = 0;
  const auto is_listed = [&](std::int64_t i) { return counts(b, static_cast<std::int32_t>(i)) ? 1 : 0; };
  block_scan<std::int32_t>(n, is_listed, [&](std::int64_t i, std::int32_t here, std::int32_t until_here) {
    if (here) listed[b * n + until_here - 1] = static_cast<std::int32_t>(i);
    if (i == n - 1) sizes[b] = until_here;
  });
}

template <typename T, typename Source>
struct IsActive {
  Source source;
  T offset;

  __device__ bool operator()(std::int64_t b, std::int32_t i) const {
    return !(coarse_weight(source(b, i).weight, offset) <= T(0));
  }
};

template <typename T, int D>
struct ListedCentres {
  const PreparedGaussian<T, D, 2>* gaussians;  // [B, N]
  const std::int32_t* listed;                  // [B, N]
  const std::int32_t* sizes;                   // [B]
  std::int64_t n;

  __device__ std::int64_t count(std::int64_t b) const { return sizes[b]; }
  __device__ std::int32_t component(std::int64_t b, std::int64_t m) const { return listed[b * n + m]; }
  __device__ std::int64_t row(std::int64_t b, std::int64_t m) const { return b * n + component(b, m); }
  __device__ void operator()(std::int64_t b, std::int64_t m, T* x) const {
    const PreparedGaussian<T, D, 2>& g = gaussians[row(b, m)];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) x[d] = g.position[d];
  }
};

template <typename T, int D, typename Source>
struct WriteFit {
  ListedCentres<T, D> centres;
  Source source;
  FitConstants<T> constants;
  FitRows<T> result;

  __device__ void operator()(std::int64_t b, std::int64_t m, const T* values) const {
    const std::int64_t row = centres.row(b, m);
    const T coarse = coarse_weight(source(b, centres.component(b, m)).weight, constants.offset);
    result.f[row] = values[0], result.g[row] = values[1];
    result.weights[row] = corrected_weight<T>(coarse, values[0], values[1], constants.s0, constants.s1);
  }
};

template <typename T, int D, typename Source>
struct FitVjp {
  Source source;
  FitConstants<T> constants;
  std::int64_t n;
  FitRows<const T> upstream;

  __device__ FitGradient<T> operator()(std::int64_t b, std::int32_t i) const {
    const std::int64_t row = b * n + i;
    const T coarse = coarse_weight(source(b, i).weight, constants.offset);
    return corrected_weight_vjp<T>(upstream.weights[row], coarse, upstream.f[row], upstream.g[row], constants.s0,
                                   constants.s1);
  }
};

// Active centres whose gradient is not zero.
template <typename T, int D, typename Source>
struct PassesGradient {
  IsActive<T, Source> is_active;
  FitVjp<T, D, Source> vjp;

  __device__ bool operator()(std::int64_t b, std::int32_t i) const { return is_active(b, i) && !vjp(b, i).is_zero(); }
};

// The upstream gradients of f and g at listed centres, and of the coarse weights.
template <typename T, int D, typename Source>
__global__ void __launch_bounds__(kPairThreads)
    fit_upstream(ListedCentres<T, D> centres, FitVjp<T, D, Source> vjp, UpstreamPoint<T, D, 2>* points, T* of_coarse) {
  const auto [b, begin] = place_of_block(centres.n, kPairThreads);
  const std::int64_t m = begin + threadIdx.x, at = b * centres.n + m;
  if (m >= centres.count(b)) return;
  const FitGradient<T> gradient = vjp(b, centres.component(b, m));
  UpstreamPoint<T, D, 2> point;
  centres(b, m, point.x);
  point.upstream[0] = gradient.of_f, point.upstream[1] = gradient.of_g;
  of_coarse[at] = gradient.of_x;
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
  ListedCentres<T, D> centres;
  Source source;
  const T* of_coarse;    // [B, N], of listed centres
  Rows<T, D> gradients;  // [B, N]

  __device__ void operator()(std::int64_t b, std::int64_t m, const T* of_point) const {
    const std::int64_t at = b * centres.n + m, row = centres.row(b, m);
    gradients.weights[row] += coarse_weight_vjp<T>(of_coarse[at], source(b, centres.component(b, m)).weight);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) gradients.positions[row * D + d] += of_point[d];
  }
};

// One batch of mixtures [B, N], prepared.
template <typename T, int D, typename Source>
class BatchedDenseFit {
 public:
  // Of working space for a component, and what the backward pass takes besides.
  static constexpr std::int64_t kBytes = sizeof(PreparedGaussian<T, D, 2>) + sizeof(std::int32_t);
  static constexpr std::int64_t kBackwardBytes = sizeof(UpstreamPoint<T, D, 2>) + sizeof(T);

  // The cutoff permits to leave pairs out; here all are computed.
  BatchedDenseFit(const Batch<Source>& mixtures, const OnDevice& on, const FitOptions& options)
      : like_(mixtures.like),
        on_(on),
        source_(mixtures.source),
        b_(mixtures.b),
        n_(mixtures.n),
        constants_{T(options.offset), T(options.s0), T(options.s1)},
        gaussians_(like_, b_ * n_),
        listed_(like_, b_ * n_),
        sizes_(like_, b_) {
    launch(prepare_gaussians<T, D, 2, Source, BothWeights<T, D>>, b_ * blocks_for(n_, kPairThreads), kPairThreads, 0,
           on.stream, source_, n_, BothWeights<T, D>{constants_.offset}, gaussians_.data());
  }

  // Writes the rows of active centres.
  void forward(const FitRows<T>& result) const {
    const ListedCentres<T, D> at = list(is_active());
    const WriteFit<T, D, Source> write{at, source_, constants_, result};
    launch_by_rows<kPointsPerThread>(b_, n_, [&](auto per_thread, std::int64_t blocks) {
      launch(evaluate_pairs<T, D, 2, per_thread, ListedCentres<T, D>, WriteFit<T, D, Source>>, blocks, kPairThreads, 0,
             on_.stream, gaussians_.data(), n_, at, n_, write);
    });
  }

  // Writes the gradients of all components.
  void backward(const FitRows<const T>& upstream, const Rows<T, D>& gradients) const {
    const Scratch<UpstreamPoint<T, D, 2>> points(like_, b_ * n_);
    const Scratch<T> of_coarse(like_, b_ * n_);
    const FitVjp<T, D, Source> vjp{source_, constants_, n_, upstream};
    const ListedCentres<T, D> at = list(PassesGradient<T, D, Source>{is_active(), vjp});
    launch(fit_upstream<T, D, Source>, b_ * blocks_for(n_, kPairThreads), kPairThreads, 0, on_.stream, at, vjp,
           points.data(), of_coarse.data());
    const WriteFitGradient<T, D, Source> write{source_, gradients, n_};
    using Prepared = PreparedRows<T, D, 2>;
    const Prepared prepared{gaussians_.data(), n_};
    launch_by_rows<kGaussiansPerThread>(b_, n_, [&](auto per_thread, std::int64_t blocks) {
      launch(gradients_of_gaussians<T, D, 2, per_thread, Prepared, ListedCentres<T, D>, WriteFitGradient<T, D, Source>>,
             blocks, kPairThreads, 0, on_.stream, prepared, n_, points.data(), at, n_, write);
    });
    const AddCentreGradient<T, D, Source> add{at, source_, of_coarse.data(), gradients};
    launch_by_rows<kPointsPerThread>(b_, n_, [&](auto per_thread, std::int64_t blocks) {
      launch(gradients_of_points<T, D, 2, per_thread, ListedCentres<T, D>, AddCentreGradient<T, D, Source>>, blocks,
             kPairThreads, 0, on_.stream, gaussians_.data(), n_, points.data(), at, n_, add);
    });
  }

 private:
  IsActive<T, Source> is_active() const { return {source_, constants_.offset}; }

  // Those centres that count; nobody waits for how many they are.
  template <typename F>
  ListedCentres<T, D> list(const F& counts) const {
    launch(list_centres<F>, b_, kListThreads, 0, on_.stream, counts, n_, listed_.data(), sizes_.data());
    return {gaussians_.data(), listed_.data(), sizes_.data(), n_};
  }

  const Tensor& like_;
  const OnDevice& on_;
  Source source_;
  std::int64_t b_, n_;
  FitConstants<T> constants_;
  Scratch<PreparedGaussian<T, D, 2>> gaussians_;
  Scratch<std::int32_t> listed_, sizes_;
};

struct FitsOnCuda {
  template <typename T, int D, typename Source>
  static void forward(const Batch<Source>& mixtures, const FitOptions& options, const FitRows<T>& result) {
    const OnDevice on(mixtures.like);
    BatchedDenseFit<T, D, Source>(mixtures, on, options).forward(result);
  }
};

}  // namespace gmcn
