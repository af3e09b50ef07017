// The nodes of every output mixture: its members, cut into groups by one block, and the moments of each group.
#pragma once

#include "../common/gaussian.h"
#include "../common/relu_nodes.h"
#include "../convolve_fit/launch_groups.cuh"
#include "operation.h"

namespace gmcn {

// Members have a positive weight, along the Morton order of their box; what is widest for its mass is split.
template <typename T, int D>
struct CutBySpread {
  static constexpr int kSums = kSpreadSums<D>;
  using Sum = double;  // as on the CPU: centres may lie far from the origin
  T low[D], per_unit[D];

  __device__ CutBySpread(const T* lowest, const T* highest) {
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) low[d] = lowest[d], per_unit[d] = cells_per_unit(lowest[d], highest[d]);
  }
  __device__ static bool counts(T weight) { return weight > T(0); }
  __device__ std::uint32_t code(const Gaussian<T, D>& g) const {
    T offset[D];
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) offset[d] = g.position[d] - low[d];
    return cell_code<T, D>(offset, per_unit);
  }
  __device__ double term(int which, const Gaussian<T, D>& g) const {
    double factor = which == 0 ? 1.0 : 0.0;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) {
      const double c = g.position[d] - low[d];
      if (which == 1 + d) factor = c;
      if (which == 1 + D) factor += c * c;
    }
    return g.weight * factor;
  }
  __device__ double priority(const double* begin, const double* end) const { return spread_priority<D>(begin, end); }
};

inline constexpr int kNodeLanes = 8;  // that add up the moments of one node: few nodes have more members than some tens

// Positions and covariances of nodes to `result`, their mass, and the node of every component. Slots without a node get
// all that they have; weights, f and g of the others, the first used[mixture], come later. A negative weight of the
// data makes everything not a number, and so does a component that is none where no node would show it.
template <typename T, int D>
__global__ void __launch_bounds__(kGroupThreads) make_nodes(GroupsJob<T, D, CutBySpread> job, Rows<T, D> result,
                                                            NodeRows<T, std::int16_t> kept, std::int32_t* used) {
  job.each([&](std::int64_t mixture, const auto& groups) {
    const Convolved<T, D>& source = job.source;
    const std::int64_t data_size = source.channels_in * source.data.n;
    const T* const weights = source.data.weights + mixture / source.channels_out * data_size;
    bool bad = false;
    for (std::int64_t i = threadIdx.x; i < data_size; i += kGroupThreads) bad = bad || weights[i] < T(0);
    if (groups.groups == 0) {
      for (std::int32_t i = threadIdx.x; i < job.count; i += kGroupThreads) {
        const Gaussian<T, D> g = source(mixture, i);
        T factor[kPacked<D>], scale;
        bad = bad || g.weight != g.weight || !whiten<T, D, T>(g.covariance, factor, scale);
      }
    }
    bad = block_reduce<int>(bad, [](int a, int b) { return a | b; });

    std::int16_t* const group = kept.group + mixture * job.count;
    for (std::int32_t i = threadIdx.x; i < job.count; i += kGroupThreads) group[i] = -1;
    __syncthreads();
    const std::int64_t row = mixture * job.wanted;
    const std::int32_t nodes = bad ? 0 : groups.groups, step = kGroupThreads / kNodeLanes;
    const auto put = [&](std::int64_t i, const Gaussian<T, D>& node) {
      kept.mass[row + i] = node.weight;
      result.write(row + i, node);  // the weight to begin with
    };
    for (std::int32_t first = 0; first < nodes; first += step) {  // all lanes of a warp together
      const std::int32_t i = first + static_cast<std::int32_t>(threadIdx.x) / kNodeLanes;
      const RankedRange range = i < nodes ? groups.space.ranges[i] : RankedRange{0, 0, 0};
      const Gaussian<T, D> node = groups.template moments<kNodeLanes>(range);
      for (std::int64_t k = range.begin + lane() % kNodeLanes; k < range.end; k += kNodeLanes)
        group[groups.component(k)] = static_cast<std::int16_t>(i);
      if (i < nodes && lane() % kNodeLanes == 0) put(i, node);
    }
    __syncthreads();
    Gaussian<T, D> empty = {};  // where the first node is: what comes next must not see that there are fewer
    set_identity<T, D>(T(1), empty.covariance);
    if (nodes > 0) {
      for (int d = 0; d < D; ++d) empty.position[d] = result.positions[row * D + d];
      pack<T, D>(result.covariances + row * D * D, empty.covariance);
    }
    if (bad) {
      empty.weight = T(NAN);
      for (T& x : empty.position) x = T(NAN);
      for (T& x : empty.covariance) x = T(NAN);
    }
    for (std::int64_t i = nodes + threadIdx.x; i < job.wanted; i += kGroupThreads) {
      put(i, empty);
      kept.f[row + i] = kept.g[row + i] = empty.weight;
    }
    if (threadIdx.x == 0) used[mixture] = nodes;
  });
}

}  // namespace gmcn
