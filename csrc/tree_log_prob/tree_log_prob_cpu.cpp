// tree_log_prob on the CPU. Tasks are slices of the points of one mixture, sorted by their ancestors level by level, so
// that lanes share their candidates. Neither results nor slices depend on the number of threads.
#include <algorithm>
#include <numeric>

#include "../evaluate/soa.h"
#include "levels.h"
#include "operation.h"

namespace gmcn {

namespace {

using Levels = std::vector<TreeLevel>;

constexpr std::int64_t kSlice = 4096;   // points
constexpr std::int64_t kTogether = 64;  // slices whose sums are kept at a time, or one of each mixture

// Arrays for them; a vector may begin at the last one.
template <typename T, int K>
struct SliceArrays : Arrays<T, K> {
  explicit SliceArrays(std::int64_t count) : Arrays<T, K>(count + kPointPadding) {}
};

// Points sorted by groups: where each group begins, and the place of each point.
struct Grouping {
  template <typename F>
  Grouping(std::int64_t count, std::int64_t groups, const F& group) : starts(groups + 1), places(count) {
    for (std::int64_t i = 0; i < count; ++i) ++starts[group(i) + 1];
    std::partial_sum(starts.begin(), starts.end(), starts.begin());
    std::vector<std::int64_t> next(starts.begin(), starts.end() - 1);
    for (std::int64_t i = 0; i < count; ++i) places[i] = static_cast<std::int32_t>(next[group(i)]++);
  }
  std::vector<std::int64_t> starts;  // [groups + 1]
  std::vector<std::int32_t> places;
};

template <typename T, int D>
std::unique_ptr<TreeComponent<T, D>[]> components_of(const TreeInput<T>& in, std::int64_t b) {
  auto components = unfilled<TreeComponent<T, D>>(in.n);
  for (std::int64_t i = 0; i < in.n; ++i) components[i] = tree_component<T, D>(in, b * in.n + i);
  return components;
}

// The points of one task, `count` of mixture b from `begin` on.
template <typename T>
struct Slice {
  Slice(const TreeInput<T>& in, std::int64_t task)
      : slices((in.m + kSlice - 1) / kSlice),
        b(task / slices),
        begin(b * in.m + task % slices * kSlice),
        count(std::min((b + 1) * in.m - begin, kSlice)) {}
  std::int64_t slices, b, begin, count;
};

template <typename T, int D>
void forward_slice(const Levels& levels, const TreeInput<T>& in, const Slice<T>& slice, const TreeResult<T>& result) {
  const std::int64_t count = slice.count;
  const auto components = components_of<T, D>(in, slice.b);
  SliceArrays<T, D> x(count), sorted_x(count);
  SliceArrays<T, 3> found(count);
  const LevelRows<T> rows{found.rows[0], found.rows[1], found.rows[2]};
  std::vector<Whole<T>> winners(found.size);
  std::vector<std::int32_t> order(count), sorted_order(count);
  std::vector<std::int64_t> starts = {0, count};
  std::iota(order.begin(), order.end(), 0);
  for (std::int64_t i = 0; i < count; ++i)
    for (int d = 0; d < D; ++d) x.rows[d][i] = in.points[(slice.begin + i) * D + d];
  for (std::int64_t l = 0; l < in.l; ++l) {
    const TreeLevel& level = levels[l];
    SortedLevel<T, D> at{components.get() + level.first, level.parents, level.children, starts.data(), 1, {}};
    std::copy_n(x.rows, D, at.x);
    const bool last = l + 1 == in.l;
    const auto& kernels = level_kernels<T, D>();
    (last ? kernels.forward_last : kernels.forward)(at, rows, winners.data());
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t to = (slice.begin + order[i]) * in.l + l;
      result.values[to] = rows.values[i], result.best[to] = rows.best[i], result.totals[to] = rows.totals[i];
    }
    if (last) break;
    Grouping by_winner(count, level.parents * level.children, [&](std::int64_t i) { return winners[i]; });
    for (int d = 0; d < D; ++d)
      for (std::int64_t i = 0; i < count; ++i) sorted_x.rows[d][by_winner.places[i]] = x.rows[d][i];
    for (std::int64_t i = 0; i < count; ++i) sorted_order[by_winner.places[i]] = order[i];
    std::swap(x, sorted_x), std::swap(order, sorted_order), starts.swap(by_winner.starts);
  }
  const TreeLevel& last = levels.back();
  for (std::int64_t p = 0; p < last.parents; ++p)
    for (std::int64_t i = starts[p]; i < starts[p + 1]; ++i) result.path[slice.begin + order[i]] = p;
}

template <typename T, int D>
bool backward_slice(const Levels& levels, const TreeInput<T>& in, const Slice<T>& slice,
                    const TreeUpstream<T>& upstream,
                    T* sums,         // [N, kTreeSums]
                    T* of_points) {  // [M, D]
  const std::int64_t count = slice.count, parents = levels.back().parents;
  const std::int64_t* const path = upstream.path + slice.begin;
  if (std::any_of(path, path + count, [&](std::int64_t at) { return at < 0 || at >= parents; })) return false;
  // Descendants of any component lie one after the other.
  const Grouping groups(count, parents, [&](std::int64_t i) { return path[i]; });
  const auto components = components_of<T, D>(in, slice.b);
  SliceArrays<T, D> x(count), of_x(count);
  SliceArrays<T, 2> rows(count);
  for (std::int64_t i = 0; i < count; ++i)
    for (int d = 0; d < D; ++d) x.rows[d][groups.places[i]] = in.points[(slice.begin + i) * D + d];
  std::fill_n(sums, in.n * kTreeSums<D>, T(0));
  for (std::int64_t l = 0; l < in.l; ++l) {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t from = (slice.begin + i) * in.l + l, to = groups.places[i];
      rows.rows[0][to] = upstream.best[from], rows.rows[1][to] = upstream.scale(from);
    }
    const TreeLevel& level = levels[l];
    SortedLevel<T, D> at{components.get() + level.first, level.parents, level.children,
                         groups.starts.data(),           level.paths,   {}};
    std::copy_n(x.rows, D, at.x);
    level_kernels<T, D>().backward(at, rows.rows[0], rows.rows[1], sums + level.first * kTreeSums<D>, of_x.rows);
  }
  for (std::int64_t i = 0; i < count; ++i)
    for (int d = 0; d < D; ++d) of_points[i * D + d] = T(kOfTreePoint) * of_x.rows[d][groups.places[i]];
  return true;
}

struct Cpu {
  template <typename T, int D>
  static void forward(const Tensor&, const Levels& levels, const TreeInput<T>& in, const TreeResult<T>& result) {
    run_tasks(in.b * Slice(in, 0).slices, [&](std::int64_t task) {
      forward_slice<T, D>(levels, in, Slice(in, task), result);
      return true;
    });
  }

  template <typename T, int D>
  static void backward(const Tensor&, const Levels& levels, const TreeInput<T>& in, const TreeUpstream<T>& upstream,
                       const TreeGradient<T>& gradient) {
    const std::int64_t slices = (in.m + kSlice - 1) / kSlice, size = in.n * kTreeSums<D>;
    // Some slices at a time, so that memory does not grow with the points. Their sums are added up in order.
    const std::int64_t most = std::min(slices, std::max<std::int64_t>(kTogether / in.b, 1));
    const auto sums = unfilled<T>(in.b * most * size);
    std::vector<T> totals(in.b * size);
    for (std::int64_t first = 0; first < slices; first += most) {
      const std::int64_t count = std::min(most, slices - first);
      const std::int64_t bad = run_tasks(in.b * count, [&](std::int64_t task) {
        const Slice slice(in, task / count * slices + first + task % count);
        return backward_slice<T, D>(levels, in, slice, upstream, sums.get() + task * size,
                                    gradient.points + slice.begin * D);
      });
      require(bad < 0, "tree_log_prob: a path ends at no component of the level before the last");
      run_tasks(in.b, [&](std::int64_t b) {
        for (std::int64_t i = b * count; i < (b + 1) * count; ++i)
          for (std::int64_t k = 0; k < size; ++k) totals[b * size + k] += sums[i * size + k];
        return true;
      });
    }
    run_tasks(in.b, [&](std::int64_t b) {
      for (std::int64_t i = b * in.n; i < (b + 1) * in.n; ++i)
        write_tree_gradient<T, D>(tree_component<T, D>(in, i), totals.data() + i * kTreeSums<D>, i, gradient);
      return true;
    });
  }
};

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("tree_log_prob", TORCH_BOX(&TreeLogProb<Cpu>::forward));
  m.impl("tree_log_prob_backward", TORCH_BOX(&TreeLogProb<Cpu>::backward));
}

}  // namespace gmcn
