// The implementation of lanes.h for one instruction set.
#pragma once

#include "../common/relu_nodes.h"
#include "../common/simd.h"
#include "lanes.h"

namespace gmcn::GMCN_PATH {

// A vector of components, whitened; weights are times the normalisation.
template <typename T, int D>
struct WhitenedLanes {
  Vector<T> position[D], factor[kPacked<D>], scale, weight;

  inline __attribute__((always_inline)) auto read(const Lanes<T, D>& lanes, std::int64_t i) {
    Vector<T> covariance[kPacked<D>];
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) covariance[p] = load(lanes.covariances[p] + i);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) position[d] = load(lanes.positions[d] + i);
    const auto good = whiten<T, D, Vector<T>>(covariance, factor, scale);
    weight = load(lanes.weights + i) * scale;
    return good;
  }

  // t = W (x - mu) for a point, and exp2(-|t|^2)
  inline __attribute__((always_inline)) Vector<T> at(const NodePoints<T, D>& nodes, std::int32_t j,
                                                     Vector<T>* t) const {
    Vector<T> x[D];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) x[d] = Vector<T>{} + nodes.x[d][j];
    standardise<D>(x, position, factor, t);
    Vector<T> y = minus_square<T>(t[0]);
    GMCN_UNROLL
    for (int i = 1; i < D; ++i) y -= t[i] * t[i];
    return exp2<T>(y);
  }
};

template <typename M>
inline __attribute__((always_inline)) bool all(M mask) {
  return !any(~mask);
}

template <typename T, int D>
void codes(const Lanes<T, D>& lanes, std::int64_t count, const T* low, const T* per_unit, std::uint32_t* codes) {
  T corner[D], scale[D];
  for (int d = 0; d < D; ++d) corner[d] = low[d], scale[d] = per_unit[d];
  for (std::int64_t i = 0; i < count; ++i) {
    T offset[D];
    for (int d = 0; d < D; ++d) offset[d] = lanes.positions[d][i] - corner[d];
    codes[i] = cell_code<T, D>(offset, scale);
  }
}

template <typename T, int D>
bool values(const Lanes<T, D>& lanes, std::int64_t count, const NodePoints<T, D>& nodes, T* scratch, T* values) {
  constexpr int kUnroll = 2;
  const std::int32_t m = nodes.count;
  std::memset(scratch, 0, m * sizeof(Vector<T>));
  auto good = Vector<T>{} == Vector<T>{};
  for (std::int64_t i = 0; i < count; i += kUnroll * kLanes<T>) {
    WhitenedLanes<T, D> components[kUnroll];
    GMCN_UNROLL
    for (int u = 0; u < kUnroll; ++u) {
      const std::int64_t at = i + u * kLanes<T>;
      good = good & components[u].read(lanes, at < count ? at : i);
      if (at >= count) components[u].weight = Vector<T>{};
    }
    for (std::int32_t j = 0; j < m; ++j) {
      Vector<T> sum = load(scratch + j * kLanes<T>), t[D];
      GMCN_UNROLL
      for (int u = 0; u < kUnroll; ++u) sum += components[u].weight * components[u].at(nodes, j, t);
      store(scratch + j * kLanes<T>, sum);
    }
  }
  for (std::int32_t j = 0; j < m; ++j) values[j] = sum_of_lanes<T>(load(scratch + j * kLanes<T>));
  return all(good);
}

template <typename T, int D>
void vjp(const Lanes<T, D>& lanes, std::int64_t count, const NodePoints<T, D>& nodes, T* scratch,
         const Lanes<T, D>& gradients, T* const of_nodes[D]) {
  const std::int32_t m = nodes.count;
  std::memset(scratch, 0, D * m * sizeof(Vector<T>));
  for (std::int64_t i = 0; i < count; i += kLanes<T>) {
    WhitenedLanes<T, D> g;
    g.read(lanes, i);
    Vector<T> zeroth = {}, first[D] = {}, second[kPacked<D>] = {};
    for (std::int32_t j = 0; j < m; ++j) {
      Vector<T> t[D], ht[D];
      const Vector<T> e = g.at(nodes, j, t), h = e * nodes.upstream[j], weighted = e * g.weight;
      zeroth += h;
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) {
        ht[d] = h * t[d];
        first[d] += ht[d];
      }
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) {
        GMCN_UNROLL
        for (int c = d; c < D; ++c) second[packed<D>(d, c)] += ht[d] * t[c];
      }
      T* const of_node = scratch + D * j * kLanes<T>;
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) {
        Vector<T> along = t[d] * g.factor[d * (d + 1) / 2 + d];
        GMCN_UNROLL
        for (int c = d + 1; c < D; ++c) along += t[c] * g.factor[c * (c + 1) / 2 + d];
        store(of_node + d * kLanes<T>, load(of_node + d * kLanes<T>) + weighted * along);
      }
    }
    Vector<T> of_position[D] = {}, of_covariance[kPacked<D>] = {};
    store(gradients.weights + i, zeroth * g.scale);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) first[d] *= g.weight;
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) second[p] *= g.weight;
    whitened_vjp<T, D>(g.factor, zeroth * g.weight, first, second, of_position, of_covariance);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) store(gradients.positions[d] + i, of_position[d]);
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) store(gradients.covariances[p] + i, of_covariance[p]);
  }
  for (std::int32_t j = 0; j < m; ++j)
    for (int d = 0; d < D; ++d)
      of_nodes[d][j] -= T(kLn2Times2) * nodes.upstream[j] * sum_of_lanes<T>(load(scratch + (D * j + d) * kLanes<T>));
}

template <typename T, int D>
void members(const Lanes<T, D>& lanes, std::int64_t count, const std::int32_t* group,
             const MemberGradient<T, D>* of_groups, const Lanes<T, D>& gradients) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (group[i] < 0) continue;
    const MemberGradient<T, D>& node = of_groups[group[i]];
    const T weight = lanes.weights[i];
    T delta[D], spread[kPacked<D>], scaled[D], of_weight = node.constant;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) {
      delta[d] = lanes.positions[d][i] - node.mean[d];
      of_weight += node.first[d] * delta[d];
    }
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) spread[p] = lanes.covariances[p][i];
    add_outer<T, D>(T(1), delta, spread);
    multiply<T, D>(node.second, delta, scaled);
    gradients.weights[i] += of_weight + inner<T, D>(node.second, spread);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) gradients.positions[d][i] += weight * (node.first[d] + 2 * scaled[d]);
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) gradients.covariances[p][i] += weight * node.second[p];
  }
}

template <typename T, int D>
LaneKernels<T, D> lane_kernels() {
  return {codes<T, D>, values<T, D>, vjp<T, D>, members<T, D>};
}

template LaneKernels<float, 2> lane_kernels();
template LaneKernels<float, 3> lane_kernels();
template LaneKernels<double, 2> lane_kernels();
template LaneKernels<double, 3> lane_kernels();

}  // namespace gmcn::GMCN_PATH
