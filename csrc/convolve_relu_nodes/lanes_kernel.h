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

  // t = W (mu - x) for a point, whose coordinates are operands in memory, and exp2(-|t|^2)
  inline __attribute__((always_inline)) Vector<T> at(const T* const (&rows)[D], std::int32_t j, Vector<T>* t) const {
    T x[D];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) x[d] = rows[d][j];
    standardise<D>(position, x, factor, t);
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
void convolve(const Lanes<T, D>& data, const Gaussian<T, D>& kernel, std::int64_t n, const Lanes<T, D>& to) {
  for (std::int64_t i = 0; i < n; i += kLanes<T>) {
    store(to.weights + i, load(data.weights + i) * kernel.weight);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) store(to.positions[d] + i, load(data.positions[d] + i) + kernel.position[d]);
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p)
      store(to.covariances[p] + i, load(data.covariances[p] + i) + kernel.covariance[p]);
  }
}

template <typename T, int D>
std::int32_t keys(const Lanes<T, D>& lanes, std::int64_t count, const T* low, const T* per_unit, std::uint64_t* keys) {
  using Bits = typename VectorOf<T>::bits;
  std::int32_t members = 0;
  for (std::int64_t begin = 0; begin < count; begin += kLanes<T>) {
    Bits code = {};
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) {
      Vector<T> cell = (load(lanes.positions[d] + begin) - low[d]) * per_unit[d];
      cell = cell > Vector<T>{} ? cell : Vector<T>{};  // what is not a number becomes zero, as in cell_code
      cell = cell < Vector<T>{} + T(1023) ? cell : Vector<T>{} + T(1023);
      code |= spread_bits(__builtin_convertvector(cell, Bits)) << (2 - d);
    }
    for (int lane = 0; lane < kLanes<T>; ++lane) {
      keys[members] = static_cast<std::uint64_t>(code[lane]) << 32 | static_cast<std::uint32_t>(begin + lane);
      members += lanes.weights[begin + lane] > T(0);
    }
  }
  return members;
}

template <typename T, int D>
void sums(const Lanes<T, D>& lanes, std::uint64_t* keys, std::int32_t members, const T* low, MemberRow<T, D>* rows,
          double* sums) {
  constexpr int kSums = kSpreadSums<D>;
  double run[kSums] = {};
  T corner[D];
  for (int d = 0; d < D; ++d) corner[d] = low[d];
  for (int k = 0; k < kSums; ++k) sums[k] = 0;
  for (std::int32_t k = 0; k < members; ++k) {
    const auto i = rows[k].component = static_cast<std::uint32_t>(keys[k]);
    keys[k] = keys[k] >> 32 << 32 | static_cast<std::uint32_t>(k);
    const double w = rows[k].weight = lanes.weights[i];
    double square = 0;
    run[0] += w;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) {
      const double c = rows[k].offset[d] = lanes.positions[d][i] - corner[d];
      square += c * c;
      run[1 + d] += w * c;
    }
    run[D + 1] += w * square;
    sums += kSums;
    GMCN_UNROLL
    for (int q = 0; q < kSums; ++q) sums[q] = run[q];
  }
}

template <typename T, int D>
void covariances(const Lanes<T, D>& lanes, std::int64_t count, const std::int32_t* group, Gaussian<T, D>* nodes) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (group[i] < 0) continue;
    Gaussian<T, D>& node = nodes[group[i]];
    const T weight = lanes.weights[i];
    T delta[D], spread[kPacked<D>];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) delta[d] = lanes.positions[d][i] - node.position[d];
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) spread[p] = lanes.covariances[p][i];
    add_outer<T, D>(T(1), delta, spread);
    add_scaled<T, D>(weight, spread, node.covariance);
  }
}

template <typename T, int D>
bool values(const Lanes<T, D>& lanes, std::int64_t count, const NodePoints<T, D>& nodes, T* scratch, T* values) {
  constexpr int kUnroll = 2;
  const std::int32_t m = nodes.count;
  const T* x[D];  // copies that no store can alias
  for (int d = 0; d < D; ++d) x[d] = nodes.x[d];
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
      for (int u = 0; u < kUnroll; ++u) sum += components[u].weight * components[u].at(x, j, t);
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
  const T *x[D], *const upstream = nodes.upstream;  // copies that no store can alias
  for (int d = 0; d < D; ++d) x[d] = nodes.x[d];
  std::memset(scratch, 0, D * m * sizeof(Vector<T>));
  for (std::int64_t i = 0; i < count; i += kLanes<T>) {
    WhitenedLanes<T, D> g;
    g.read(lanes, i);
    Vector<T> zeroth = {}, first[D] = {}, second[kPacked<D>] = {};
    for (std::int32_t j = 0; j < m; ++j) {
      Vector<T> t[D], ht[D];
      const Vector<T> e = g.at(x, j, t), h = e * upstream[j], weighted = e * g.weight;
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
    for (int d = 0; d < D; ++d) first[d] *= -g.weight;
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
      of_nodes[d][j] += T(kLn2Times2) * upstream[j] * sum_of_lanes<T>(load(scratch + (D * j + d) * kLanes<T>));
}

template <typename T, int D>
void members(const Lanes<T, D>& lanes, std::int64_t count, const std::int32_t* group,
             const MemberGradient<T, D>* of_groups, const Lanes<T, D>& gradients) {
  constexpr std::int32_t kStride = sizeof(MemberGradient<T, D>) / sizeof(T);
  const MemberGradient<T, D>& base = *of_groups;
  for (std::int64_t i = 0; i < count; i += kLanes<T>) {
    std::int32_t index[kLanes<T>];
    alignas(Vector<T>) T inside[kLanes<T>];  // one for members, zero for others, which read the first node
    for (int lane = 0; lane < kLanes<T>; ++lane) {
      const std::int32_t j = group[i + lane];
      index[lane] = j < 0 ? 0 : j * kStride;
      inside[lane] = j < 0 ? T(0) : T(1);
    }
    const Vector<T> member = load(inside), weight = load(lanes.weights + i) * member;
    Vector<T> delta[D], first[D], second[kPacked<D>], spread[kPacked<D>], scaled[D];
    Vector<T> of_weight = gather(&base.constant, index);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) {
      delta[d] = load(lanes.positions[d] + i) - gather(base.mean + d, index);
      first[d] = gather(base.first + d, index);
      of_weight += first[d] * delta[d];
    }
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) {
      second[p] = gather(base.second + p, index);
      spread[p] = load(lanes.covariances[p] + i);
    }
    add_outer<Vector<T>, D>(Vector<T>{} + T(1), delta, spread);
    multiply<Vector<T>, D>(second, delta, scaled);
    of_weight += inner<Vector<T>, D>(second, spread);
    store(gradients.weights + i, load(gradients.weights + i) + member * of_weight);
    GMCN_UNROLL
    for (int d = 0; d < D; ++d)
      store(gradients.positions[d] + i, load(gradients.positions[d] + i) + weight * (first[d] + T(2) * scaled[d]));
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p)
      store(gradients.covariances[p] + i, load(gradients.covariances[p] + i) + weight * second[p]);
  }
}

// to += from; returns the sum of what was added.
template <typename T>
inline __attribute__((always_inline)) T add_row(const T* from, std::int64_t n, T* to) {
  Vector<T> sums = {};
  std::int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) {
    const Vector<T> v = load(from + i);
    store(to + i, load(to + i) + v);
    sums += v;
  }
  T sum = sum_of_lanes<T>(sums);
  for (; i < n; ++i) to[i] += from[i], sum += from[i];
  return sum;
}

template <typename T, int D>
void scatter(const Lanes<T, D>& gradients, const T* weights, T kernel_weight, std::int64_t n,
             const Lanes<T, D>& of_data, Gaussian<T, D>& of_kernel) {
  Vector<T> sums = {};
  std::int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) {
    const Vector<T> v = load(gradients.weights + i);
    store(of_data.weights + i, load(of_data.weights + i) + v * kernel_weight);
    sums += v * load(weights + i);
  }
  of_kernel.weight += sum_of_lanes<T>(sums);
  for (; i < n; ++i) {
    of_data.weights[i] += gradients.weights[i] * kernel_weight;
    of_kernel.weight += gradients.weights[i] * weights[i];
  }
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) of_kernel.position[d] += add_row(gradients.positions[d], n, of_data.positions[d]);
  GMCN_UNROLL
  for (int p = 0; p < kPacked<D>; ++p)
    of_kernel.covariance[p] += add_row(gradients.covariances[p], n, of_data.covariances[p]);
}

template <typename T, int D>
LaneKernels<T, D> lane_kernels() {
  return {convolve<T, D>, keys<T, D>, sums<T, D>,    covariances<T, D>,
          values<T, D>,   vjp<T, D>,  members<T, D>, scatter<T, D>};
}

template LaneKernels<float, 2> lane_kernels();
template LaneKernels<float, 3> lane_kernels();
template LaneKernels<double, 2> lane_kernels();
template LaneKernels<double, 3> lane_kernels();

}  // namespace gmcn::GMCN_PATH
