// The groups that the convolved components of one output mixture are cut into, by one block: what Groups does on the
// CPU. The components are made from a data and a kernel Gaussian wherever they are needed.
#pragma once

#include "../common/moments.h"
#include "../common/morton.h"
#include "../common/pieces.cuh"
#include "../common/tournament.cuh"

namespace gmcn {

struct Range {
  std::int32_t begin, end;
};

struct GroupsSpace {    // in shared memory, or, where a mixture is too large, in global memory
  std::uint64_t* keys;  // [count] sign and Morton code, component
  double* sums;         // [count + 1] of the weights in that order
  Range* ranges;        // [most]
  std::int32_t* winners;

  GMCN_HD GroupsSpace(Pieces& pieces, std::int64_t count, std::int64_t most) {
    keys = pieces.take<std::uint64_t>(count), sums = pieces.take<double>(count + 1);
    ranges = pieces.take<Range>(most), winners = pieces.take<std::int32_t>(Tournament::space(most));
  }
  static std::int64_t bytes(std::int64_t count, std::int64_t most) {
    Pieces pieces(nullptr);
    GroupsSpace(pieces, count, most);
    return pieces.bytes();
  }
};

template <typename T, int D>
struct BlockGroups {
  Convolved<T, D> source;
  std::int64_t mixture;
  std::int32_t count;  // convolved components
  std::int32_t most;   // groups: no more than components
  GroupsSpace space;
  std::int32_t groups = 0;

  __device__ std::int32_t component(std::int64_t k) const { return static_cast<std::int32_t>(space.keys[k]); }

  // Positive and negative components are separated first, then along the Morton order. The weights are added in double
  // precision: of two groups the same one as on the CPU is heavier, or they tie but for the rounding of that.
  __device__ void build() {
    if (count == 0) return;
    T low[D], high[D];
    box(low, high);
    for (std::int64_t i = threadIdx.x; i < count; i += blockDim.x) {
      const Gaussian<T, D> g = source(mixture, static_cast<std::int32_t>(i));
      const std::uint32_t code = morton_code<T, D>(g.position, low, high) | (g.weight > T(0) ? 1u << 30 : 0u);
      space.keys[i] = static_cast<std::uint64_t>(code) << 32 | static_cast<std::uint32_t>(i);
    }
    block_sort(space.keys, static_cast<std::uint32_t>(count));
    if (threadIdx.x == 0) space.sums[0] = 0;
    block_scan<double>(
        count, [&](std::int64_t k) { return static_cast<double>(source(mixture, component(k)).weight); },
        [&](std::int64_t k, double, double sum) { space.sums[k + 1] = sum; });
    cut();
  }

  // The Gaussian of one group, by one warp; in all its lanes.
  __device__ Gaussian<T, D> moments(Range range) const {
    Gaussian<T, D> group = {};
    for (std::int64_t k = range.begin + lane(); k < range.end; k += 32)
      add_to_mean<T, D>(source(mixture, component(k)), group);
    group.weight = warp_sum(group.weight);
    for (int d = 0; d < D; ++d) group.position[d] = warp_sum(group.position[d]);
    if (!finish_mean<T, D>(group)) return group;
    for (std::int64_t k = range.begin + lane(); k < range.end; k += 32)
      add_to_covariance<T, D>(source(mixture, component(k)), group, group.covariance);
    for (int p = 0; p < kPacked<D>; ++p) group.covariance[p] = warp_sum(group.covariance[p]);
    return group;
  }

 private:
  // The box that contains all convolved centres: per channel, the sum of the boxes of data and kernels.
  __device__ void box(T* low, T* high) const {
    const auto smaller = [](T a, T b) { return b < a ? b : a; };
    const auto larger = [](T a, T b) { return b > a ? b : a; };
    const std::int32_t channels = source.channels_in;
    for (int d = 0; d < D; ++d) {
      T lowest = T(INFINITY), highest = -T(INFINITY);
      for (std::int32_t f = warp(); f < channels; f += warps()) {
        T lower = 0, upper = 0;
        const auto add = [&](const Stored<T, D>& part, std::int64_t channel) {
          T least = T(INFINITY), most = -T(INFINITY);
          for (std::int64_t i = lane(); i < part.n; i += 32) {
            const T x = part.positions[(channel * part.n + i) * D + d];
            least = smaller(least, x), most = larger(most, x);
          }
          lower += warp_reduce(least, smaller), upper += warp_reduce(most, larger);
        };
        add(source.data, mixture / source.channels_out * channels + f);
        add(source.kernels, mixture % source.channels_out * channels + f);
        lowest = smaller(lowest, lower), highest = larger(highest, upper);
      }
      low[d] = block_reduce(lowest, smaller), high[d] = block_reduce(highest, larger);
    }
  }

  // From the root of the radix tree, the group of largest |mass| (the first in the list where they tie) is split until
  // there are `most`; a single component cannot be split.
  __device__ void cut() {
    __shared__ std::int32_t shared_groups;
    if (warp() == 0) {
      const Tournament tournament{space.winners, most};
      const auto offered = [&](std::int32_t place) {
        const Range r = space.ranges[place];
        return r.end - r.begin > 1 ? std::fabs(space.sums[r.end] - space.sums[r.begin]) : -1.0;
      };
      if (lane() == 0) space.ranges[0] = {0, count};
      __syncwarp();
      std::int32_t size = 1, place = tournament.play<double>(0, 1, offered);
      while (size < most && place >= 0) {
        const Range range = space.ranges[place];
        const std::int32_t middle = split(range);
        __syncwarp();  // all lanes have read the range before it changes
        if (lane() == 0) space.ranges[place] = {range.begin, middle}, space.ranges[size] = {middle, range.end};
        ++size;
        __syncwarp();
        place = tournament.grow<double>(place, size, offered);
      }
      if (lane() == 0) shared_groups = size;
    }
    __syncthreads();
    groups = shared_groups;
  }

  // Where the highest differing bit of a range's keys changes; equal codes are split by their places in the order.
  __device__ std::int32_t split(Range range) const {
    const auto key = [&](std::int64_t k) {
      return (space.keys[k] & 0xffffffff00000000u) | static_cast<std::uint64_t>(k);
    };
    const std::uint64_t first = key(range.begin), last = key(range.end - 1);
    std::int64_t before = range.begin, after = range.end - 1;  // on the left and on the right of the split
    while (after - before > 1) {
      const std::int64_t step = (after - before + 31) / 32, probe = before + (lane() + 1) * step;
      const bool is_right = probe >= after || (key(probe) ^ last) < (key(probe) ^ first);
      const int lefts = warp_sum(is_right ? 0 : 1);
      after = before + (lefts + 1) * step < after ? before + (lefts + 1) * step : after;
      before += lefts * step;
    }
    return static_cast<std::int32_t>(after);
  }
};

}  // namespace gmcn
