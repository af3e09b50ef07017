// Where the components of a batch of mixtures come from: stored, or convolved on the fly (equations 3 and 4), which
// needs no memory for the convolved mixture. A source maps (mixture, index) to a Gaussian.
#pragma once

#include <cstdint>

#include "symmetric.h"

namespace gmcn {

template <typename T, int D>
struct Gaussian {
  T weight;
  T position[D];
  T covariance[kPacked<D>];
};

// Adds a Gaussian, or a gradient of one, with another weight.
template <typename T, int D>
GMCN_HD void accumulate(const Gaussian<T, D>& g, T weight, Gaussian<T, D>& sum) {
  sum.weight += weight;
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) sum.position[d] += g.position[d];
  add_scaled<T, D>(T(1), g.covariance, sum.covariance);
}

template <typename T, int D>
struct Stored {
  const T* weights;      // [B, N], or null where nobody asks for them
  const T* positions;    // [B, N, D]
  const T* covariances;  // [B, N, D, D]
  std::int64_t n;

  GMCN_HD Gaussian<T, D> operator()(std::int64_t b, std::int32_t i) const { return at(b * n + i); }
  GMCN_HD Gaussian<T, D> at(std::int64_t row) const {
    Gaussian<T, D> g;
    g.weight = weights ? weights[row] : T(0);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) g.position[d] = positions[row * D + d];
    pack<T, D>(covariances + row * D * D, g.covariance);
    return g;
  }
};

// Components, or gradients of them, written to contiguous tensors.
template <typename T, int D>
struct Rows {
  T* weights;  // or null where they are not wanted
  T* positions;
  T* covariances;

  GMCN_HD void write(std::int64_t row, const Gaussian<T, D>& g) const {
    if (weights) weights[row] = g.weight;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) positions[row * D + d] = g.position[d];
    unpack<T, D>(g.covariance, covariances + row * D * D);
  }
};

// Mixture b = batch * G + g holds component i = n + N (f + F k): data (batch, f, n) convolved with kernel (g, f, k).
template <typename T, int D>
struct Convolved {
  Stored<T, D> data;     // [B, F, N]
  Stored<T, D> kernels;  // [G, F, K]
  std::int32_t channels_in, channels_out;

  // Divisions of 32 bits are five times as quick as those of 64 on a GPU.
  GMCN_HD std::int64_t data_row(std::int64_t b, std::int32_t i) const {
    const auto per_kernel = static_cast<std::uint32_t>(channels_in) * static_cast<std::uint32_t>(data.n);
    return std::int64_t{static_cast<std::uint32_t>(b) / static_cast<std::uint32_t>(channels_out)} * per_kernel +
           static_cast<std::uint32_t>(i) % per_kernel;
  }
  GMCN_HD std::int64_t kernel_row(std::int64_t b, std::int32_t i) const {
    const auto f = static_cast<std::uint32_t>(i) / static_cast<std::uint32_t>(data.n),
               channels = static_cast<std::uint32_t>(channels_in);
    const auto g = static_cast<std::uint32_t>(b) % static_cast<std::uint32_t>(channels_out);
    return (std::int64_t{g} * channels + f % channels) * kernels.n + f / channels;
  }
  GMCN_HD Gaussian<T, D> operator()(std::int64_t b, std::int32_t i) const {
    Gaussian<T, D> a = data.at(data_row(b, i));
    const Gaussian<T, D> k = kernels.at(kernel_row(b, i));
    a.weight *= k.weight;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) a.position[d] += k.position[d];
    add_scaled<T, D>(T(1), k.covariance, a.covariance);
    return a;
  }
};

// Another source's positions and covariances with weights of their own, as the reduction after a dense fit sees them.
template <typename T, int D, typename Source>
struct Reweighted {
  const T* weights;  // [B, N]
  std::int64_t n;
  Source source;

  GMCN_HD Gaussian<T, D> operator()(std::int64_t b, std::int32_t i) const {
    Gaussian<T, D> g = source(b, i);
    g.weight = weights[b * n + i];
    return g;
  }
};

}  // namespace gmcn
