// Gradients of data and kernels from those of the convolved components, on CUDA: gathered by who owns them, in a fixed
// order, so that they need no atomics. One warp per data Gaussian, one block per kernel Gaussian.
#pragma once

#include "block.cuh"
#include "cuda.h"
#include "mixtures.h"

namespace gmcn {

inline constexpr int kGatherThreads = 256;

// reduce(value) for every number of g.
template <typename T, int D, typename Reduce>
__device__ void reduce_each(Gaussian<T, D>& g, const Reduce& reduce) {
  g.weight = reduce(g.weight);
  for (int d = 0; d < D; ++d) g.position[d] = reduce(g.position[d]);
  for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] = reduce(g.covariance[p]);
}

// gradient(mixture, i) is that of component i of a convolved mixture. Where `is_first` is false, kernels already have
// gradients from another part of the batch.
template <typename T, int D, typename Gradient>
__global__ void __launch_bounds__(kGatherThreads)
    gather_for_data(Convolved<T, D> source, std::int64_t rows, Gradient gradient, Rows<T, D> result) {
  const std::int64_t row = blockIdx.x * std::int64_t{kGatherThreads / 32} + warp();
  if (row >= rows) return;
  const std::int64_t per_shape = source.channels_in * source.data.n, terms = source.channels_out * source.kernels.n;
  Gaussian<T, D> sum = {};
  const std::int64_t first = row / per_shape * source.channels_out, place = row % per_shape;
  const auto kernels = static_cast<std::uint32_t>(source.kernels.n);
  for (std::uint32_t term = lane(); term < terms; term += 32) {
    const std::int64_t mixture = first + term / kernels;
    const auto i = static_cast<std::int32_t>(place + per_shape * (term % kernels));
    const T factor = source.kernels.weights ? source.kernels.weights[source.kernel_row(mixture, i)] : T(0);
    const Gaussian<T, D> one = gradient(mixture, i);
    accumulate(one, one.weight * factor, sum);
  }
  reduce_each(sum, [](T value) { return warp_sum(value); });
  if (lane() == 0) result.write(row, sum);
}

template <typename T, int D, typename Gradient>
__global__ void __launch_bounds__(kGatherThreads)
    gather_for_kernels(Convolved<T, D> source, std::int64_t batch, Gradient gradient, Rows<T, D> result,
                       bool is_first) {
  const std::int64_t row = blockIdx.x, channels = source.channels_in, n = source.data.n;
  const std::int64_t g = row / (channels * source.kernels.n), f = row / source.kernels.n % channels;
  Gaussian<T, D> sum = {};
  const std::int64_t first = n * (f + channels * (row % source.kernels.n));
  // Term by term of batch x n, without a division for each.
  std::int64_t shape = threadIdx.x / n, m = threadIdx.x % n;
  const std::int64_t shape_step = kGatherThreads / n, m_step = kGatherThreads % n;
  for (; shape < batch; shape += shape_step, m += m_step) {
    if (m >= n) m -= n, ++shape;
    if (shape >= batch) break;
    const std::int64_t mixture = shape * source.channels_out + g;
    const auto i = static_cast<std::int32_t>(m + first);
    const T factor = source.data.weights ? source.data.weights[source.data_row(mixture, i)] : T(0);
    const Gaussian<T, D> one = gradient(mixture, i);
    accumulate(one, one.weight * factor, sum);
  }
  reduce_each(sum, [](T value) { return block_sum(value); });
  if (threadIdx.x > 0) return;
  if (!is_first) {
    const auto before = Stored<T, D>{result.weights, result.positions, result.covariances, 0}.at(row);
    accumulate(before, before.weight, sum);
  }
  result.write(row, sum);
}

// Gradients of the components of all mixtures, stored for gathering.
template <typename T, int D>
struct StoredComponentGradients {
  Stored<T, D> rows;  // [B G, N F K]
  __device__ Gaussian<T, D> operator()(std::int64_t mixture, std::int32_t i) const { return rows(mixture, i); }
};

// Working space for the gradients of `count` components; those of weights may have a place of their own.
template <typename T, int D>
struct GradientRows {
  GradientRows(const Tensor& like, std::int64_t count, T* place = nullptr)
      : of_weights(like, place ? 0 : count),
        positions(like, count * D),
        covariances(like, count * D * D),
        weights(place ? place : of_weights.data()) {}
  Rows<T, D> to_write() const { return {weights, positions.data(), covariances.data()}; }
  StoredComponentGradients<T, D> to_read(std::int64_t n) const {
    return {{weights, positions.data(), covariances.data(), n}};
  }
  static constexpr std::int64_t kBytes = (1 + D + D * D) * sizeof(T);  // of a component
  Scratch<T> of_weights, positions, covariances;
  T* weights;
};

template <typename T, int D>
Stored<T, D> from_row(const Stored<T, D>& all, std::int64_t row) {
  return {all.weights ? all.weights + row : nullptr, all.positions + row * D, all.covariances + row * D * D, all.n};
}
template <typename T, int D>
Rows<T, D> from_row(const Rows<T, D>& all, std::int64_t row) {
  return {all.weights ? all.weights + row : nullptr, all.positions + row * D, all.covariances + row * D * D};
}

// f(part, b) for parts of the batch, each from shape b on: as many shapes as have working space of `most` bytes, with
// `bytes` for a component, or one. The parts depend on shapes alone, and so does the order of all sums.
template <typename T, int D, typename F>
void for_parts(const Batch<Convolved<T, D>>& all, std::int64_t bytes, std::int64_t most, const F& f) {
  const std::int64_t channels = all.source.channels_out, shapes = all.b / channels;
  const std::int64_t parts = blocks_for(shapes, at_least_one(most / (channels * all.n * bytes)));
  const std::int64_t size = blocks_for(shapes, parts);
  for (std::int64_t b = 0; b < shapes; b += size) {
    Convolved<T, D> source = all.source;
    source.data = from_row(source.data, b * source.channels_in * source.data.n);
    f(Batch<Convolved<T, D>>{source, at_most(size, shapes - b) * channels, all.n, all.like}, b);
  }
}

template <typename T, int D, typename Gradient>
void gather(const Convolved<T, D>& source, std::int64_t batch, const Gradient& gradient, const OnDevice& on,
            const Rows<T, D>& of_data, const Rows<T, D>& of_kernels, bool is_first = true) {
  const std::int64_t rows = batch * source.channels_in * source.data.n;
  launch(gather_for_data<T, D, Gradient>, blocks_for(rows, kGatherThreads / 32), kGatherThreads, 0, on.stream, source,
         rows, gradient, of_data);
  launch(gather_for_kernels<T, D, Gradient>, source.channels_out * source.channels_in * source.kernels.n,
         kGatherThreads, 0, on.stream, source, batch, gradient, of_kernels, is_first);
}

}  // namespace gmcn
