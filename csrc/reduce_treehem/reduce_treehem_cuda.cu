// TreeHEM on CUDA: one block per mixture, in one launch. The backward pass makes the tree again instead of keeping it.
#include "../common/tensors.h"
#include "reduction_vjp.cuh"
#include "sizes.h"

namespace gmcn {

namespace {

using treehem::Sizes;

constexpr int kThreads = 256;

template <typename T, int D>
struct Job {
  Stored<T, D> mixtures;         // [B, N]
  Stored<T, D> upstream;         // [B, wanted] of the backward pass
  StoredGradients<T, D> result;  // [B, wanted], or [B, N] in the backward pass
  MergeOptions<T> options;
  std::int64_t b;
  std::int32_t n, wanted;
  int t;
  unsigned char* scratch;  // [blocks, scratch_bytes]
  std::int64_t scratch_bytes;
  bool on_chip;
};

template <typename T>
__device__ void fill(T* begin, std::int32_t count, T value) {
  for (std::int32_t i = threadIdx.x; i < count; i += blockDim.x) begin[i] = value;
}

template <typename T, int D>
__device__ void fill(const StoredGradients<T, D>& rows, std::int64_t begin, std::int32_t count, T value) {
  fill(rows.weights + begin, count, value);
  fill(rows.positions + begin * D, count * D, value);
  fill(rows.covariances + begin * D * D, count * D * D, value);
}

template <typename T, int D, int M, bool Backward>
__global__ void __launch_bounds__(kThreads) reduce(Job<T, D> job) {
  for (std::int64_t mixture = blockIdx.x; mixture < job.b; mixture += gridDim.x) {
    Pieces in_scratch(job.scratch + blockIdx.x * job.scratch_bytes), on_chip(dynamic_shared());
    const Slow<T, D> slow(in_scratch, job.n, job.t);
    const Quick<T> quick(job.on_chip ? on_chip : in_scratch, job.n);
    BlockReduction<T, D, M, Stored<T, D>> reduction{job.mixtures, job.options, job.n, job.wanted,
                                                    job.t,        quick,       slow,  mixture};
    const std::int32_t count = Backward ? job.n : job.wanted;
    const bool usable = reduction.read();
    if (Backward || !usable) fill(job.result, mixture * count, count, usable ? T(0) : T(NAN));
    if (!usable) continue;
    reduction.fit();
    if constexpr (Backward) {
      BlockReductionVjp<T, D, M, Stored<T, D>>{reduction, job.upstream, job.result}.run();
    } else {
      reduction.write([&](std::int32_t row, const Gaussian<T, D>& g) { job.result.write(mixture * count + row, g); });
    }
    __syncthreads();
  }
}

template <bool Backward, typename T, int D>
void run(Job<T, D> job, const Tensor& like) {
  const OnDevice device(like);
  Pieces quick(nullptr), slow(nullptr);
  Quick<T>(quick, job.n), Slow<T, D>(slow, job.n, job.t);
  job.on_chip = fits_on_chip(quick.bytes());
  job.scratch_bytes = slow.bytes() + (job.on_chip ? 0 : quick.bytes());
  const std::int64_t most = kWorkingSpace / job.scratch_bytes, blocks = job.b < most ? job.b : most > 0 ? most : 1;
  const Scratch<unsigned char> scratch(like, blocks * job.scratch_bytes);
  job.scratch = scratch.data();
  const auto kernel = job.t <= 2   ? &reduce<T, D, 4, Backward>
                      : job.t <= 4 ? &reduce<T, D, 8, Backward>
                                   : &reduce<T, D, kMaxMerge, Backward>;
  launch(kernel, blocks, kThreads, job.on_chip ? quick.bytes() : 0, device.stream, job);
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> reduce_treehem_cuda(Tensor weights,      // [B, N]
                                                       Tensor positions,    // [B, N, D]
                                                       Tensor covariances,  // [B, N, D, D]
                                                       std::int64_t n, std::int64_t t, double kl_threshold,
                                                       double virtual_samples) {
  const Sizes s = treehem::check(weights, positions, covariances, n, t);
  make_contiguous({&weights, &positions, &covariances});
  Tensor w = empty_like_of(weights, {s.b, n}), p = empty_like_of(weights, {s.b, n, s.d});
  Tensor c = empty_like_of(weights, {s.b, n, s.d, s.d});
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    run<false>(Job<T, D>{stored<T, D>(weights, positions, covariances),
                         {},
                         stored_gradients<T, D>(w, p, c),
                         {T(kl_threshold), T(virtual_samples)},
                         s.b,
                         static_cast<std::int32_t>(s.n),
                         static_cast<std::int32_t>(n),
                         static_cast<int>(t)},
               weights);
  });
  return {w, p, c};
}

std::tuple<Tensor, Tensor, Tensor> reduce_treehem_backward_cuda(Tensor weights_gradient,      // [B, n]
                                                                Tensor positions_gradient,    // [B, n, D]
                                                                Tensor covariances_gradient,  // [B, n, D, D]
                                                                Tensor weights, Tensor positions, Tensor covariances,
                                                                std::int64_t n, std::int64_t t, double kl_threshold,
                                                                double virtual_samples) {
  const Sizes s = treehem::check(weights, positions, covariances, n, t);
  check_shape(weights_gradient, "weights_gradient", {s.b, n});
  check_shape(positions_gradient, "positions_gradient", {s.b, n, s.d});
  check_shape(covariances_gradient, "covariances_gradient", {s.b, n, s.d, s.d});
  make_contiguous({&weights_gradient, &positions_gradient, &covariances_gradient, &weights, &positions, &covariances});
  Tensor w = empty_like_of(weights, {s.b, s.n}), p = empty_like_of(weights, {s.b, s.n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.n, s.d, s.d});
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    run<true>(Job<T, D>{stored<T, D>(weights, positions, covariances),
                        stored<T, D>(weights_gradient, positions_gradient, covariances_gradient),
                        stored_gradients<T, D>(w, p, c),
                        {T(kl_threshold), T(virtual_samples)},
                        s.b,
                        static_cast<std::int32_t>(s.n),
                        static_cast<std::int32_t>(n),
                        static_cast<int>(t)},
              weights);
  });
  return {w, p, c};
}

GMCN_REGISTER_CUDA(m) {
  m.impl("reduce_treehem", TORCH_BOX(&reduce_treehem_cuda));
  m.impl("reduce_treehem_backward", TORCH_BOX(&reduce_treehem_backward_cuda));
}

}  // namespace gmcn
