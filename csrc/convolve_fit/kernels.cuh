// The kernels of convolve_fit: one block makes the groups of one output mixture; gradients are gathered, not scattered,
// by those who own them, so that they need no atomics: one warp per data Gaussian, one block per kernel Gaussian.
#pragma once

#include "groups.cuh"

namespace gmcn {

inline constexpr int kGroupThreads = 256;

template <typename T, int D>
struct ConvolveFit {
  Convolved<T, D> source;  // [B, F, N] with [G, F, K]
  std::int64_t tasks;      // B G
  std::int32_t count, most;
  std::int64_t wanted;
  unsigned char* space;  // [blocks, space_bytes], or in shared memory where that is zero
  std::int64_t space_bytes;

  // f(mixture, its groups) for all output mixtures from `begin` to `end`.
  template <typename F>
  __device__ void each(std::int64_t begin, std::int64_t end, const F& f) const {
    for (std::int64_t mixture = begin + blockIdx.x; mixture < end; mixture += gridDim.x) {
      Pieces pieces(space_bytes ? space + blockIdx.x * space_bytes : dynamic_shared());
      BlockGroups<T, D> groups{source, mixture, count, most, GroupsSpace(pieces, count, most)};
      groups.build();
      f(mixture, groups);
      __syncthreads();
    }
  }
};

template <typename T, int D>
__global__ void __launch_bounds__(kGroupThreads) fit_groups(ConvolveFit<T, D> job, StoredGradients<T, D> result) {
  job.each(0, job.tasks, [&](std::int64_t mixture, const BlockGroups<T, D>& groups) {
    const std::int64_t row = mixture * job.wanted;
    for (std::int32_t i = warp(); i < groups.groups; i += warps()) {
      const Gaussian<T, D> group = groups.moments(groups.space.ranges[i]);
      if (lane() == 0) result.write(row + i, group);
    }
    Gaussian<T, D> empty = {};
    set_identity<T, D>(T(1), empty.covariance);
    for (std::int64_t i = groups.groups + threadIdx.x; i < job.wanted; i += kGroupThreads) result.write(row + i, empty);
  });
}

// For the gradient of the output mixtures from `begin` to `end`: their Gaussians, and each component's group.
template <typename T, int D>
struct Members {
  std::int64_t begin, end;
  Gaussian<T, D>* groups;  // [end - begin, most]
  std::int32_t* group;     // [end - begin, count]
  Stored<T, D> upstream;   // [B G, wanted]
};

template <typename T, int D>
__global__ void __launch_bounds__(kGroupThreads) find_members(ConvolveFit<T, D> job, Members<T, D> members) {
  job.each(members.begin, members.end, [&](std::int64_t mixture, const BlockGroups<T, D>& groups) {
    const std::int64_t row = mixture - members.begin;
    for (std::int32_t i = warp(); i < groups.groups; i += warps()) {
      const Range range = groups.space.ranges[i];
      const Gaussian<T, D> group = groups.moments(range);
      if (lane() == 0) members.groups[row * job.most + i] = group;
      for (std::int64_t k = range.begin + lane(); k < range.end; k += 32)
        members.group[row * job.count + groups.component(k)] = i;
    }
  });
}

// The gradient of one convolved component.
template <typename T, int D>
__device__ Gaussian<T, D> component_vjp(const ConvolveFit<T, D>& job, const Members<T, D>& members,
                                        std::int64_t mixture, std::int32_t component) {
  const std::int64_t row = mixture - members.begin;
  const std::int32_t i = members.group[row * job.count + component];
  return moments_vjp<T, D>(job.source(mixture, component), members.groups[row * job.most + i],
                           members.upstream.at(mixture * job.wanted + i));
}

template <typename T, int D>
__device__ void add(const Gaussian<T, D>& gradient, T factor, Gaussian<T, D>& sum) {
  sum.weight += gradient.weight * factor;
  for (int d = 0; d < D; ++d) sum.position[d] += gradient.position[d];
  add_scaled<T, D>(T(1), gradient.covariance, sum.covariance);
}

template <typename T, int D, typename Reduce>
__device__ void reduce_each(Gaussian<T, D>& g, const Reduce& reduce) {
  g.weight = reduce(g.weight);
  for (int d = 0; d < D; ++d) g.position[d] = reduce(g.position[d]);
  for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] = reduce(g.covariance[p]);
}

template <typename T, int D>
__global__ void __launch_bounds__(kGroupThreads)
    data_vjp(ConvolveFit<T, D> job, Members<T, D> members, std::int64_t rows_begin, std::int64_t rows_end,
             StoredGradients<T, D> gradient) {
  const Stored<T, D>&data = job.source.data, &kernels = job.source.kernels;
  const std::int64_t channels = job.source.channels_in, outputs = job.source.channels_out;
  for (std::int64_t row = rows_begin + std::int64_t(blockIdx.x) * warps() + warp(); row < rows_end;
       row += std::int64_t(gridDim.x) * warps()) {
    const std::int64_t b = row / (channels * data.n), within = row % (channels * data.n);  // f N + n
    Gaussian<T, D> sum = {};
    for (std::int64_t term = lane(); term < outputs * kernels.n; term += 32) {
      const std::int64_t mixture = b * outputs + term / kernels.n;
      const auto i = static_cast<std::int32_t>(within + channels * data.n * (term % kernels.n));
      const T factor = kernels.weights[job.source.kernel_row(mixture, i)];
      add<T, D>(component_vjp(job, members, mixture, i), factor, sum);
    }
    reduce_each(sum, [](T value) { return warp_sum(value); });
    if (lane() == 0) gradient.write(row, sum);
  }
}

// Added to what earlier parts of the batch gave.
template <typename T, int D>
__global__ void __launch_bounds__(kGroupThreads)
    kernels_vjp(ConvolveFit<T, D> job, Members<T, D> members, StoredGradients<T, D> gradient) {
  const Stored<T, D>&data = job.source.data, &kernels = job.source.kernels;
  const std::int64_t channels = job.source.channels_in, outputs = job.source.channels_out;
  for (std::int64_t row = blockIdx.x; row < outputs * channels * kernels.n; row += gridDim.x) {
    const std::int64_t g = row / (channels * kernels.n), f = row / kernels.n % channels, k = row % kernels.n;
    Gaussian<T, D> sum = {};
    for (std::int64_t term = threadIdx.x; term < (members.end - members.begin) / outputs * data.n;
         term += kGroupThreads) {
      const std::int64_t mixture = members.begin + term / data.n * outputs + g;
      const auto i = static_cast<std::int32_t>(term % data.n + data.n * (f + channels * k));
      add<T, D>(component_vjp(job, members, mixture, i), data.weights[job.source.data_row(mixture, i)], sum);
    }
    reduce_each(sum, [](T value) { return block_sum(value); });
    if (threadIdx.x == 0) {
      add<T, D>(Stored<T, D>{gradient.weights, gradient.positions, gradient.covariances, 0}.at(row), T(1), sum);
      gradient.write(row, sum);
    }
  }
}

}  // namespace gmcn
