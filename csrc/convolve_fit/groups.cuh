// The groups that the convolved components of one output mixture are cut into, by one block: what Groups and NodeGroups
// do on the CPU. The components are made from a data and a kernel Gaussian wherever they are needed.
//
// A rule says which components are cut (those whose two factors have counts(weight)), the code of each, what is added
// up along the order of codes, and from two of these sums the priority of what lies between them.
#pragma once

#include "../common/moments.h"
#include "../common/morton.h"
#include "../common/pieces.cuh"
#include "../common/tournament.cuh"

namespace gmcn {

struct RankedRange {
  std::int32_t begin, end;
  double priority;  // negative where it cannot be split
};

struct GroupsBytes {
  std::int64_t near, global;
};

template <typename Rule>
struct GroupsSpace {
  // In shared memory, or, where a mixture is too large, in global memory.
  std::uint64_t* keys;  // [count] code, component
  RankedRange* ranges;  // [most]
  std::int32_t* winners;
  // [count + 1, Rule::kSums] in the order of keys. A single one is near as well; several would take more room than all
  // the rest, and each cut reads few of them.
  double* sums;

  GMCN_HD GroupsSpace(Pieces& near, Pieces& global, std::int64_t count, std::int64_t most) {
    keys = near.take<std::uint64_t>(count), ranges = near.take<RankedRange>(most);
    winners = near.take<std::int32_t>(Tournament::space(most));
    sums = (Rule::kSums > 1 ? global : near).template take<double>((count + 1) * Rule::kSums);
  }
  static GroupsBytes bytes(std::int64_t count, std::int64_t most) {
    Pieces near(nullptr), global(nullptr);
    GroupsSpace(near, global, count, most);
    return {near.bytes(), global.bytes()};
  }
};

template <typename S, typename T, int D>
__device__ Gaussian<S, D> converted(const Gaussian<T, D>& g) {
  Gaussian<S, D> result;
  result.weight = static_cast<S>(g.weight);
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) result.position[d] = static_cast<S>(g.position[d]);
  GMCN_UNROLL
  for (int p = 0; p < kPacked<D>; ++p) result.covariance[p] = static_cast<S>(g.covariance[p]);
  return result;
}

// The rule of convolve_fit: positive and negative components are separated first, then along the Morton order; what has
// the largest |mass| is split.
template <typename T, int D>
struct CutByMass {
  static constexpr int kSums = 1;
  using Sum = T;  // of masses and means
  const T *low, *high;

  __device__ static bool counts(T) { return true; }
  __device__ std::uint32_t code(const Gaussian<T, D>& g) const {
    return morton_code<T, D>(g.position, low, high) | (g.weight > T(0) ? 1u << 30 : 0u);
  }
  __device__ double term(int, const Gaussian<T, D>& g) const { return static_cast<double>(g.weight); }
  __device__ double priority(const double* begin, const double* end) const { return std::fabs(*end - *begin); }
};

template <typename T, int D, template <typename, int> typename RuleOf>
struct BlockGroups {
  using Rule = RuleOf<T, D>;

  Convolved<T, D> source;
  std::int64_t mixture;
  std::int32_t count;  // convolved components
  std::int32_t most;   // groups: no more than components
  GroupsSpace<Rule> space;
  std::int32_t members = 0, groups = 0;

  __device__ std::int32_t component(std::int64_t k) const { return static_cast<std::int32_t>(space.keys[k]); }

  // Sums are in double precision: of two groups the same one as on the CPU comes first, or they tie but for the
  // rounding of that.
  __device__ void build() {
    if (count == 0) return;
    T low[D], high[D];
    box(low, high);
    const Rule rule{low, high};
    list_members(rule);
    if (members == 0) return;
    block_sort(space.keys, static_cast<std::uint32_t>(members));
    if (threadIdx.x < Rule::kSums) space.sums[threadIdx.x] = 0;
#pragma unroll 1
    for (int s = 0; s < Rule::kSums; ++s)
      block_scan<double>(
          members, [&](std::int64_t k) { return rule.term(s, source(mixture, component(k))); },
          [&](std::int64_t k, double, double sum) { space.sums[(k + 1) * Rule::kSums + s] = sum; });
    cut(rule);
  }

  // The Gaussian of one range, by `Lanes` neighbours in a warp; in all of them. The lanes of a warp come here together.
  template <int Lanes = 32>
  __device__ Gaussian<T, D> moments(const RankedRange& range) const {
    const auto each = [&](const auto& add) {
      for (std::int64_t k = range.begin + lane() % Lanes; k < range.end; k += Lanes) add(source(mixture, component(k)));
    };
    using Sum = typename Rule::Sum;
    Gaussian<Sum, D> mean = {};
    each([&](const Gaussian<T, D>& member) { add_to_mean<Sum, D>(converted<Sum>(member), mean); });
    mean.weight = warp_sum<Lanes>(mean.weight);
    for (int d = 0; d < D; ++d) mean.position[d] = warp_sum<Lanes>(mean.position[d]);
    const bool has_mass = finish_mean<Sum, D>(mean);
    Gaussian<T, D> group = converted<T>(mean);
    T covariance[kPacked<D>] = {};
    if (has_mass) each([&](const Gaussian<T, D>& member) { add_to_covariance<T, D>(member, group, covariance); });
    for (int p = 0; p < kPacked<D>; ++p) {
      covariance[p] = warp_sum<Lanes>(covariance[p]);
      if (has_mass) group.covariance[p] = covariance[p];
    }
    return group;
  }

 private:
  // The box that contains all members' centres: per channel, the sum of the boxes of data and kernels.
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
          for (std::int64_t i = channel * part.n + lane(); i < (channel + 1) * part.n; i += 32) {
            if (!Rule::counts(part.weights[i])) continue;
            const T x = part.positions[i * D + d];
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

  __device__ void list_members(const Rule& rule) {
    __shared__ std::int32_t shared_members;
    const auto counts = [&](std::int64_t k) {
      const auto i = static_cast<std::int32_t>(k);
      const T data = source.data.weights[source.data_row(mixture, i)];
      return Rule::counts(data) && Rule::counts(source.kernels.weights[source.kernel_row(mixture, i)]) ? 1 : 0;
    };
    block_scan<std::int32_t>(count, counts, [&](std::int64_t i, std::int32_t here, std::int32_t until_here) {
      if (here) {
        const std::uint64_t code = rule.code(source(mixture, static_cast<std::int32_t>(i)));
        space.keys[until_here - 1] = code << 32 | static_cast<std::uint32_t>(i);
      }
      if (i == count - 1) shared_members = until_here;
    });
    members = shared_members;
  }

  // From the root of the radix tree, the range of largest priority (the first in the list where they tie) is split
  // until there are `most`; a single component cannot be split.
  __device__ void cut(const Rule& rule) {
    __shared__ std::int32_t shared_groups;
    if (warp() == 0) {
      const Tournament tournament{space.winners, most};
      const auto put = [&](std::int32_t place, std::int32_t begin, std::int32_t end) {
        const double* const sums = space.sums;
        const double priority =
            rule.priority(sums + std::int64_t{begin} * Rule::kSums, sums + std::int64_t{end} * Rule::kSums);
        space.ranges[place] = {begin, end, end - begin > 1 ? priority : -1.0};
      };
      const auto offered = [&](std::int32_t place) { return space.ranges[place].priority; };
      if (lane() == 0) put(0, 0, members);
      __syncwarp();
      std::int32_t size = 1, place = tournament.play<double>(0, 1, offered);
      while (size < most && place >= 0) {
        const RankedRange range = space.ranges[place];
        const std::int32_t middle = split(range);
        __syncwarp();  // all lanes have read the range before it changes
        if (lane() == 0) put(place, range.begin, middle);
        if (lane() == 1) put(size, middle, range.end);
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
  __device__ std::int32_t split(const RankedRange& range) const {
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
