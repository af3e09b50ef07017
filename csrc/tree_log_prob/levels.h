// One level of a tree at points that lie sorted by their ancestors: raw pointers only, compiled once per instruction
// set (levels_kernel.h) and chosen at run time. Arrays of points are padded to kPointPadding (evaluate/pairs.h).
#pragma once

#include <type_traits>

#include "scores.h"

namespace gmcn {

template <typename T>
using Whole = std::conditional_t<sizeof(T) == 4, std::int32_t, std::int64_t>;  // as wide as a T

template <typename T, int D>
struct SortedLevel {
  const TreeComponent<T, D>* components;  // [parents children]
  std::int64_t parents, children;
  const std::int64_t* starts;  // the points of parent p are those from starts[p step] on, to starts[(p + 1) step]
  std::int64_t step;
  const T* x[D];
};

template <typename T>
struct LevelRows {
  T *values, *best, *totals;
};

template <typename T, int D>
struct LevelKernels {
  // Of each point and the children of its ancestor; `winners` says which of the level's components is the largest.
  void (*forward)(const SortedLevel<T, D>&, const LevelRows<T>&, Whole<T>* winners);
  void (*forward_last)(const SortedLevel<T, D>&, const LevelRows<T>&, Whole<T>*);  // writes no winners
  // Adds to the sums [parents children, kTreeSums] of the components and to those of the points. `scales` are those of
  // TreeUpstream.
  void (*backward)(const SortedLevel<T, D>&, const T* best, const T* scales, T* sums, T* const of_x[D]);
};

template <typename T, int D>
const LevelKernels<T, D>& level_kernels();

}  // namespace gmcn
