// tree_log_prob on CUDA. Threads own points (values and gradients of points) or components (their gradients), and
// stream the others: nothing is added by two threads, so that there are no atomics and every run gives the same bits.
#include "../common/block.cuh"
#include "operation.h"

namespace gmcn {

namespace {

inline constexpr int kTreeThreads = 128;  // of a block, and components or points of a tile

template <typename T, int D>
__device__ __forceinline__ void read_point(const TreeInput<T>& in, std::int64_t m, T* x) {
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) x[d] = in.points[m * D + d];
}

// Calls visit(component, i) for the children of a point's ancestor. On the first level those are the same for all
// points, and the block shares tiles of them, which all its threads have to help with.
template <typename T, int D, typename F>
__device__ __forceinline__ void for_each_candidate(const TreeInput<T>& in, const TreeLevel& level, std::int64_t b,
                                                   std::int64_t ancestor, bool helps, const F& visit) {
  const std::int64_t first = b * in.n + level.first;
  if (level.parents > 1) {
    for (std::int64_t i = ancestor * level.children; helps && i < (ancestor + 1) * level.children; ++i)
      visit(tree_component<T, D>(in, first + i), i);
    return;
  }
  __shared__ TreeComponent<T, D> tile[kTreeThreads];
  for (std::int64_t begin = 0; begin < level.children; begin += kTreeThreads) {
    const std::int64_t left = level.children - begin;
    const int count = static_cast<int>(left < kTreeThreads ? left : kTreeThreads);
    __syncthreads();  // the last tile has been read
    if (static_cast<int>(threadIdx.x) < count)
      tile[threadIdx.x] = tree_component<T, D>(in, first + begin + threadIdx.x);
    __syncthreads();
    for (int i = 0; helps && i < count; ++i) visit(tile[i], begin + i);
  }
}

// One level; `path` holds the points' ancestors there and then those on the next level, if there is one.
template <typename T, int D>
__global__ void __launch_bounds__(kTreeThreads)
    tree_values(TreeInput<T> in, TreeLevel level, std::int64_t l, TreeResult<T> result) {
  const auto [b, begin] = place_of_block(in.m, kTreeThreads);
  const bool real = begin + threadIdx.x < in.m;
  const std::int64_t m = b * in.m + (real ? begin + threadIdx.x : in.m - 1), at = m * in.l + l;
  const std::int64_t ancestor = level.parents > 1 ? result.path[m] : 0;
  T x[D];
  read_point<T, D>(in, m, x);
  LogSum<T> found;
  for_each_candidate<T, D>(in, level, b, ancestor, real, [&](const TreeComponent<T, D>& c, std::int64_t i) {
    T delta[D], t[D];
    found.see(tree_score<T, D>(c, x, delta, t), static_cast<int>(i));
  });
  if (!real) return;
  result.values[at] = found.value(), result.best[at] = found.best, result.totals[at] = found.total;
  result.path[m] = l + 1 < in.l ? found.index : ancestor;
}

// One level's part of the gradients of points; the first level writes them, others add.
template <typename T, int D>
__global__ void __launch_bounds__(kTreeThreads)
    tree_gradients_of_points(TreeInput<T> in, TreeLevel level, std::int64_t l, TreeUpstream<T> upstream,
                             TreeGradient<T> gradient) {
  const auto [b, begin] = place_of_block(in.m, kTreeThreads);
  const bool real = begin + threadIdx.x < in.m;
  const std::int64_t m = b * in.m + (real ? begin + threadIdx.x : in.m - 1), at = m * in.l + l;
  const T best = upstream.best[at], scale = upstream.scale(at);
  T x[D], sums[D] = {};
  read_point<T, D>(in, m, x);
  const auto add = [&](const TreeComponent<T, D>& c, std::int64_t) {
    T delta[D], t[D];
    const T h = fast_exp2(tree_score<T, D>(c, x, delta, t) - best) * scale;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) t[d] *= h;
    add_to_tree_point(c, t, sums);
  };
  for_each_candidate<T, D>(in, level, b, upstream.path[m] / level.paths, real, add);
  if (!real) return;
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) {
    T& to = gradient.points[m * D + d];
    to = (l == 0 ? T(0) : to) + T(kOfTreePoint) * sums[d];
  }
}

template <typename T, int D>
struct TreePoint {
  T x[D], best, scale;
  std::int64_t parent;
};

// Thread by component of one level, over all points; those of another parent have no part in it.
template <typename T, int D>
__global__ void __launch_bounds__(kTreeThreads)
    tree_gradients_of_components(TreeInput<T> in, TreeLevel level, std::int64_t l, TreeUpstream<T> upstream,
                                 TreeGradient<T> gradient) {
  __shared__ TreePoint<T, D> tile[kTreeThreads];
  const std::int64_t components = level.parents * level.children;
  const auto [b, begin] = place_of_block(components, kTreeThreads);
  const bool real = begin + threadIdx.x < components;
  const std::int64_t own = real ? begin + threadIdx.x : components - 1, parent = own / level.children;
  const std::int64_t i = b * in.n + level.first + own;
  const TreeComponent<T, D> c = tree_component<T, D>(in, i);
  T total[kTreeSums<D>] = {};
  for (std::int64_t start = 0; start < in.m; start += kTreeThreads) {
    const int count = static_cast<int>(in.m - start < kTreeThreads ? in.m - start : kTreeThreads);
    __syncthreads();  // the last tile has been read
    if (static_cast<int>(threadIdx.x) < count) {
      const std::int64_t m = b * in.m + start + threadIdx.x, at = m * in.l + l;
      TreePoint<T, D>& point = tile[threadIdx.x];
      read_point<T, D>(in, m, point.x);
      point.best = upstream.best[at], point.scale = upstream.scale(at);
      point.parent = upstream.path[m] / level.paths;
    }
    __syncthreads();
    T run[kTreeSums<D>] = {};  // rounding grows with the run, not with the points
    for (int k = 0; k < count; ++k) {
      if (tile[k].parent != parent) continue;
      T delta[D], t[D];
      const T h = fast_exp2(tree_score<T, D>(c, tile[k].x, delta, t) - tile[k].best) * tile[k].scale;
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) t[d] *= h;
      add_to_tree_sums<D>(h, delta, t, run);
    }
    GMCN_UNROLL
    for (int k = 0; k < kTreeSums<D>; ++k) total[k] += run[k];
  }
  if (real) write_tree_gradient<T, D>(c, total, i, gradient);
}

struct Cuda {
  template <typename T, int D>
  static void forward(const Tensor& like, const std::vector<TreeLevel>& levels, const TreeInput<T>& in,
                      const TreeResult<T>& result) {
    const OnDevice on(like);
    for (std::int64_t l = 0; l < in.l; ++l)
      launch(tree_values<T, D>, in.b * blocks_for(in.m, kTreeThreads), kTreeThreads, 0, on.stream, in, levels[l], l,
             result);
  }

  template <typename T, int D>
  static void backward(const Tensor& like, const std::vector<TreeLevel>& levels, const TreeInput<T>& in,
                       const TreeUpstream<T>& upstream, const TreeGradient<T>& gradient) {
    const OnDevice on(like);
    for (std::int64_t l = 0; l < in.l; ++l) {
      const std::int64_t components = levels[l].parents * levels[l].children;
      launch(tree_gradients_of_points<T, D>, in.b * blocks_for(in.m, kTreeThreads), kTreeThreads, 0, on.stream, in,
             levels[l], l, upstream, gradient);
      launch(tree_gradients_of_components<T, D>, in.b * blocks_for(components, kTreeThreads), kTreeThreads, 0,
             on.stream, in, levels[l], l, upstream, gradient);
    }
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) {
  m.impl("tree_log_prob", TORCH_BOX(&TreeLogProb<Cuda>::forward));
  m.impl("tree_log_prob_backward", TORCH_BOX(&TreeLogProb<Cuda>::backward));
}

}  // namespace gmcn
