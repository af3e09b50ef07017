// The implementation of levels.h for one instruction set. Lanes are points; components are broadcast.
#pragma once

#include "../common/simd.h"
#include "../evaluate/pairs_kernel.h"
#include "levels.h"

namespace gmcn::GMCN_PATH {

// Vectors of points side by side, where there are so many: an exponential is one long chain of dependent instructions.
inline constexpr int kTreeUnroll = 4;

template <typename T, int D, int U, bool kWinner>
inline __attribute__((always_inline)) void best_of_children(const TreeComponent<T, D>* children, std::int64_t count,
                                                            std::int64_t first, const T* const (&x_rows)[D],
                                                            std::int64_t m, const LevelRows<T>& rows,
                                                            Whole<T>* winners) {
  Vector<T> x[U][D];
  LogSum<Vector<T>> found[U];
  GMCN_UNROLL
  for (int u = 0; u < U; ++u) {
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) x[u][d] = load(x_rows[d] + m + u * kLanes<T>);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    GMCN_UNROLL
    for (int u = 0; u < U; ++u) {
      const TreeComponent<T, D>* c = children + i;
      load_again(c);
      Vector<T> delta[D], t[D];
      found[u].see(tree_score<T, D>(*c, x[u], delta, t), static_cast<int>(i));
    }
  }
  GMCN_UNROLL
  for (int u = 0; u < U; ++u) {
    const std::int64_t at = m + u * kLanes<T>;
    store(rows.values + at, found[u].value());
    store(rows.best + at, found[u].best);
    store(rows.totals + at, found[u].total);
    if constexpr (!kWinner) continue;
    const auto winner = found[u].index + static_cast<Whole<T>>(first);
    std::memcpy(winners + at, &winner, sizeof(winner));
  }
}

// The lanes beyond a parent's points belong to the next one, or to nobody, and are written again.
template <typename T, int D, bool kWinner>
void forward_level(const SortedLevel<T, D>& level, const LevelRows<T>& rows, Whole<T>* winners) {
  const T* x[D];
  for (int d = 0; d < D; ++d) x[d] = level.x[d];
  for (std::int64_t p = 0; p < level.parents; ++p) {
    const std::int64_t end = level.starts[(p + 1) * level.step], first = p * level.children;
    std::int64_t m = level.starts[p * level.step];
    for (; m + kTreeUnroll * kLanes<T> <= end; m += kTreeUnroll * kLanes<T>)
      best_of_children<T, D, kTreeUnroll, kWinner>(level.components + first, level.children, first, x, m, rows,
                                                   winners);
    for (; m < end; m += kLanes<T>)
      best_of_children<T, D, 1, kWinner>(level.components + first, level.children, first, x, m, rows, winners);
  }
}

// The sums of one component in lanes.
template <typename T, int D>
struct TreeLaneSums {
  Vector<T> sums[kTreeSums<D>] = {};

  // Of the points from m on; of a last vector only `rest` count.
  template <int U, bool kPart>
  inline __attribute__((always_inline)) void add(const TreeComponent<T, D>& c, const T* const (&x_rows)[D],
                                                 const T* best, const T* scales, T* const (&of_x)[D], std::int64_t m,
                                                 [[maybe_unused]] std::int64_t rest = 0) {
    Vector<T> delta[U][D], t[U][D], h[U];
    GMCN_UNROLL
    for (int u = 0; u < U; ++u) {
      const std::int64_t at = m + u * kLanes<T>;
      const TreeComponent<T, D>* g = &c;
      load_again(g);
      Vector<T> x[D];
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) x[d] = load(x_rows[d] + at);
      Vector<T> s = tree_score<T, D>(*g, x, delta[u], t[u]) - load(best + at), scale = load(scales + at);
      if constexpr (kPart) {  // another parent's points: far above their own best, they would be infinite
        typename VectorOf<T>::bits lane;
        GMCN_UNROLL
        for (int i = 0; i < kLanes<T>; ++i) lane[i] = i;
        const auto own = lane < static_cast<Whole<T>>(rest);
        s = own ? s : splat<Vector<T>>(-1000), scale = own ? scale : Vector<T>{};
      }
      h[u] = exp2<T>(s) * scale;
    }
    GMCN_UNROLL
    for (int u = 0; u < U; ++u) {
      const std::int64_t at = m + u * kLanes<T>;
      const TreeComponent<T, D>* g = &c;
      load_again(g);
      Vector<T> ht[D], of_point[D];
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) ht[d] = h[u] * t[u][d], of_point[d] = load(of_x[d] + at);
      add_to_tree_sums<D>(h[u], delta[u], ht, sums);
      add_to_tree_point(*g, ht, of_point);
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) store(of_x[d] + at, of_point[d]);
    }
  }
};

template <typename T, int D>
void backward_level(const SortedLevel<T, D>& level, const T* best, const T* scales, T* sums, T* const of_x[D]) {
  // Copies that no store can alias: else every iteration would read the pointers again.
  const T* x[D];
  T* of_point[D];
  for (int d = 0; d < D; ++d) x[d] = level.x[d], of_point[d] = of_x[d];
  constexpr std::int64_t kBlock = 1024, kU = 2;  // points whose rows stay in the first cache; vectors side by side
  for (std::int64_t p = 0; p < level.parents; ++p) {
    const std::int64_t begin = level.starts[p * level.step], end = level.starts[(p + 1) * level.step];
    for (std::int64_t from = begin; from < end; from += kBlock) {
      const std::int64_t to = from + kBlock < end ? from + kBlock : end;
      for (std::int64_t i = p * level.children; i < (p + 1) * level.children; ++i) {
        TreeLaneSums<T, D> lanes;
        std::int64_t m = from;
        for (; m + kU * kLanes<T> <= to; m += kU * kLanes<T>)
          lanes.template add<kU, false>(level.components[i], x, best, scales, of_point, m);
        for (; m < to; m += kLanes<T>)
          lanes.template add<1, true>(level.components[i], x, best, scales, of_point, m, to - m);
        for (int k = 0; k < kTreeSums<D>; ++k) sums[i * kTreeSums<D> + k] += sum_of_lanes<T>(lanes.sums[k]);
      }
    }
  }
}

template <typename T, int D>
LevelKernels<T, D> level_kernels() {
  return {forward_level<T, D, true>, forward_level<T, D, false>, backward_level<T, D>};
}

template LevelKernels<float, 2> level_kernels();
template LevelKernels<float, 3> level_kernels();
template LevelKernels<double, 2> level_kernels();
template LevelKernels<double, 3> level_kernels();

}  // namespace gmcn::GMCN_PATH
