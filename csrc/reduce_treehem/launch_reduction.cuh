// TreeHEM for a batch of mixtures from any source: one block per mixture, in one launch. The backward pass makes the
// tree again instead of keeping it.
#pragma once

#include "operation.h"
#include "reduction_vjp.cuh"

namespace gmcn {

// With so few, four mixtures of 2,560 Gaussians share a multiprocessor (of 228 KB): high up in a tree little is
// parallel.
inline constexpr int kTreeThreads = 128;

template <typename T, int D, typename Source>
struct ReductionJob {
  Source mixtures;        // [B, N]
  Stored<T, D> upstream;  // [B, wanted] of the backward pass
  Rows<T, D> result;      // [B, wanted], or [B, N] in the backward pass
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
__device__ void fill(const Rows<T, D>& rows, std::int64_t begin, std::int32_t count, T value) {
  fill(rows.weights + begin, count, value);
  fill(rows.positions + begin * D, count * D, value);
  fill(rows.covariances + begin * D * D, count * D * D, value);
}

template <typename T, int D, typename Source, int M, bool Backward>
__global__ void __launch_bounds__(kTreeThreads, sizeof(T) == 4 ? 4 : 2)
    reduce_mixtures(ReductionJob<T, D, Source> job) {
  for (std::int64_t mixture = blockIdx.x; mixture < job.b; mixture += gridDim.x) {
    Pieces in_scratch(job.scratch + blockIdx.x * job.scratch_bytes), on_chip(dynamic_shared());
    const Slow<T, D> slow(in_scratch, job.n, job.t);
    const Quick<T> quick(job.on_chip ? on_chip : in_scratch, job.n);
    BlockReduction<T, D, M, Source> reduction{job.mixtures, job.options, job.n, job.wanted,
                                              job.t,        quick,       slow,  mixture};
    const std::int32_t count = Backward ? job.n : job.wanted;
    const bool usable = reduction.read();
    if (Backward || !usable) fill(job.result, mixture * count, count, usable ? T(0) : T(NAN));
    if (!usable) continue;
    reduction.fit();
    if constexpr (Backward) {
      BlockReductionVjp<T, D, M, Source>{reduction, job.upstream, job.result}.run();
    } else {
      reduction.write([&](std::int32_t row, const Gaussian<T, D>& g) { job.result.write(mixture * count + row, g); });
    }
    __syncthreads();
  }
}

// Runs the forward or the backward pass for all mixtures.
template <bool Backward, typename T, int D, typename Source>
void run_reduction(const Batch<Source>& mixtures, const TreehemOptions& options, const Stored<T, D>& upstream,
                   const Rows<T, D>& result) {
  const OnDevice device(mixtures.like);
  ReductionJob<T, D, Source> job{mixtures.source,
                                 upstream,
                                 result,
                                 {T(options.kl_threshold), T(options.virtual_samples)},
                                 mixtures.b,
                                 static_cast<std::int32_t>(mixtures.n),
                                 static_cast<std::int32_t>(options.wanted),
                                 static_cast<int>(options.t)};
  Pieces quick(nullptr), slow(nullptr);
  Quick<T>(quick, job.n), Slow<T, D>(slow, job.n, job.t);
  job.on_chip = fits_on_chip(quick.bytes());
  job.scratch_bytes = slow.bytes() + (job.on_chip ? 0 : quick.bytes());
  const std::int64_t most = kWorkingSpace / job.scratch_bytes, blocks = job.b < most ? job.b : most > 0 ? most : 1;
  const Scratch<unsigned char> scratch(mixtures.like, blocks * job.scratch_bytes);
  job.scratch = scratch.data();
  const auto kernel = job.t <= 2   ? &reduce_mixtures<T, D, Source, 4, Backward>
                      : job.t <= 4 ? &reduce_mixtures<T, D, Source, 8, Backward>
                                   : &reduce_mixtures<T, D, Source, kMaxMerge, Backward>;
  launch(kernel, blocks, kTreeThreads, job.on_chip ? quick.bytes() : 0, device.stream, job);
}

struct ReductionsOnCuda {
  template <typename T, int D, typename Source>
  static void forward(const Batch<Source>& mixtures, const TreehemOptions& options, const Rows<T, D>& result) {
    run_reduction<false>(mixtures, options, Stored<T, D>{}, result);
  }

  template <typename T, int D, typename Source>
  static void backward(const Batch<Source>& mixtures, const TreehemOptions& options, const Stored<T, D>& upstream,
                       const Rows<T, D>& result) {
    run_reduction<true>(mixtures, options, upstream, result);
  }
};

}  // namespace gmcn
