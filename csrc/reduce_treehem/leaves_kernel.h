// The implementation of nodes.h for one instruction set, what is done at the leaves: each has a lane.
#pragma once

#include "../common/morton.h"
#include "fields_kernel.h"

namespace gmcn::GMCN_PATH {

// Components have to be padded with what changes neither the box nor the sum of variances.
template <typename T, int D>
T survey(const Fields<T, D>& components, std::int32_t n, std::uint32_t* codes) {
  using V = Vector<T>;
  const T* const x = components.data + components.stride;
  V low[D], high[D], traces = {};
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) low[d] = high[d] = load(x + d * components.stride);
  for (std::int32_t i = 0; i < n; i += kLanes<T>) {
    const Gaussian<V, D> g = load(components, i);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) {
      low[d] = g.position[d] < low[d] ? g.position[d] : low[d];
      high[d] = g.position[d] > high[d] ? g.position[d] : high[d];
    }
    traces += trace<V, D>(g.covariance);
  }
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) {
    for (int lane = 1; lane < kLanes<T>; ++lane) {
      low[d][0] = low[d][lane] < low[d][0] ? low[d][lane] : low[d][0];
      high[d][0] = high[d][lane] > high[d][0] ? high[d][lane] : high[d][0];
    }
    low[d] = V{} + low[d][0], high[d] = V{} + high[d][0];
  }
  for (std::int32_t i = 0; i < n; i += kLanes<T>) {
    const Gaussian<V, D> g = load(components, i);
    const auto code = morton_code<V, D>(g.position, low, high);
    for (int lane = 0; lane < kLanes<T>; ++lane) codes[i + lane] = static_cast<std::uint32_t>(code[lane]);
  }
  return std::sqrt(sum_of_lanes<T>(traces) / (T(n) * D));
}

// The place of each is the number of those before it, which lanes count faster than a sort of so few would end.
inline void sort_few(const std::uint32_t* codes, std::int32_t n, std::int32_t* order) {
  using Bits = VectorOf<float>::bits;
  constexpr int kL = kLanes<float>;
  Bits lanes;
  for (int lane = 0; lane < kL; ++lane) lanes[lane] = lane;
  for (std::int32_t i = 0; i < n; i += kL) {
    Bits own, before = {};
    std::memcpy(&own, codes + i, sizeof(own));
    const std::int32_t end = n - i < kL ? n : i + kL;
    const auto other = [&](std::int32_t j) { return static_cast<std::int32_t>(codes[j]); };
    for (std::int32_t j = 0; j < i; ++j) before -= own >= other(j);
    for (std::int32_t j = i; j < end; ++j) before -= (own > other(j)) | ((own == other(j)) & (lanes > j - i));
    for (std::int32_t j = end; j < n; ++j) before -= own > other(j);
    for (std::int32_t j = i; j < end; ++j) order[before[j - i]] = j;
  }
}

template <typename T, int D>
bool make_leaves(const Fields<T, D>& components, const std::int32_t* order, std::int32_t n, T scale,
                 const Fields<T, D>& gaussians, std::int32_t first) {
  using V = Vector<T>;
  auto bad = V{} < V{};
  for (std::int32_t k = 0; k < n; k += kLanes<T>) {
    Gaussian<V, D> g = gather(components, order + k);
    V finite = g.weight;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) g.position[d] /= scale, finite += g.position[d];
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] /= scale * scale, finite += g.covariance[p];
    const auto good = (g.weight >= V{}) & (finite - finite == V{}) & is_positive_definite<V, D>(g.covariance);
    bad |= good == 0;
    store(gaussians, first + k, g, n - k);
  }
  return !any(bad);
}

template <typename T, int D>
void finish_gradients(const Fields<T, D>& gaussians, std::int32_t first, std::int32_t n, T scale, T scale_gradient,
                      const std::int32_t* place, const Fields<T, D>& gradients, const Fields<T, D>& result) {
  using V = Vector<T>;
  V sum = {};
  for (std::int32_t k = 0; k < n; k += kLanes<T>) {
    std::int32_t leaves[kLanes<T>], places[kLanes<T>];
    for (int lane = 0; lane < kLanes<T>; ++lane) {
      leaves[lane] = first + (k + lane < n ? k + lane : n - 1);
      places[lane] = k + lane < n ? place[leaves[lane]] : 0;  // where zeros are
    }
    const Gaussian<V, D> g = gather(gradients, places), leaf = gather(gaussians, leaves);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) sum += g.position[d] * leaf.position[d];
    sum += 2 * inner<V, D>(g.covariance, leaf.covariance);
    store(result, k, g, kLanes<T>);
  }
  const T trace_gradient = (scale_gradient - sum_of_lanes<T>(sum) / scale) / (2 * scale * T(n) * D);
  for (std::int32_t k = 0; k < n; k += kLanes<T>) {
    Gaussian<V, D> g = load(result, k);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) g.position[d] /= scale;
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] /= scale * scale;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) g.covariance[packed<D>(d, d)] += trace_gradient;
    store(result, k, g, kLanes<T>);
  }
}

}  // namespace gmcn::GMCN_PATH
