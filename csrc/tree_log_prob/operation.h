// tree_log_prob in front of every device's code: what it requires and what it returns.
#pragma once

#include <tuple>
#include <vector>

#include "../common/tensors.h"
#include "scores.h"

namespace gmcn {

// What all arguments say together, checked; the arguments become contiguous.
struct Tree {
  Tree(Tensor& points, Tensor& heights, Tensor& means, Tensor& whiteners, const std::vector<std::int64_t>& sizes) {
    STD_TORCH_CHECK(points.dim() == 3 && heights.dim() == 2,
                    "tree_log_prob: expected points [B, M, D] and heights [B, N]");
    b = points.size(0), m = points.size(1), d = points.size(2);
    STD_TORCH_CHECK(!sizes.empty(), "tree_log_prob: a tree needs a level (call gmcn.ops, which checks it)");
    const std::int64_t paths = sizes.size() > 1 ? sizes[sizes.size() - 2] : 1;
    for (const std::int64_t size : sizes) {
      const std::int64_t parents = levels.empty() ? 1 : sizes[levels.size() - 1];
      STD_TORCH_CHECK(size > 0 && size % parents == 0 && sizes.back() % size == 0,
                      "tree_log_prob: sizes are no levels of a tree (call gmcn.ops, which checks them)");
      levels.push_back({n, parents, size / parents, paths / parents});
      n += size;
    }
    check_count(n, "tree_log_prob");
    check_shape(heights, "heights", {b, n});
    check_shape(means, "means", {b, n, d});
    check_shape(whiteners, "whiteners", {b, n, d, d});
    make_contiguous({&points, &heights, &means, &whiteners});
  }
  std::int64_t l() const { return static_cast<std::int64_t>(levels.size()); }

  template <typename T>
  TreeInput<T> input(const Tensor& points, const Tensor& heights, const Tensor& means, const Tensor& whiteners) const {
    return {points.const_data_ptr<T>(),
            heights.const_data_ptr<T>(),
            means.const_data_ptr<T>(),
            whiteners.const_data_ptr<T>(),
            b,
            m,
            n,
            l()};
  }

  std::int64_t b, m, n = 0, d;
  std::vector<TreeLevel> levels;
};

template <typename Backend>
struct TreeLogProb {
  // Values, and what the backward pass needs beside the arguments.
  static std::tuple<Tensor, Tensor, Tensor, Tensor> forward(Tensor points,     // [B, M, D]
                                                            Tensor heights,    // [B, N]
                                                            Tensor means,      // [B, N, D]
                                                            Tensor whiteners,  // [B, N, D, D]
                                                            std::vector<std::int64_t> sizes) {
    const Tree tree(points, heights, means, whiteners, sizes);
    const Shape shape = {tree.b, tree.m, tree.l()};
    Tensor values = empty_like_of(points, shape), best = empty_like_of(points, shape);
    Tensor totals = empty_like_of(points, shape), path = empty_indices_of(points, {tree.b, tree.m});
    dispatch(points, tree.d, [&]<typename T, int D>() {
      if (tree.b * tree.m == 0) return;
      Backend::template forward<T, D>(
          points, tree.levels, tree.input<T>(points, heights, means, whiteners),
          TreeResult<T>{values.mutable_data_ptr<T>(), best.mutable_data_ptr<T>(), totals.mutable_data_ptr<T>(),
                        path.mutable_data_ptr<std::int64_t>()});
    });
    return {values, best, totals, path};
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor> backward(Tensor gradient,   // [B, M, L]
                                                             Tensor points,     // [B, M, D]
                                                             Tensor heights,    // [B, N]
                                                             Tensor means,      // [B, N, D]
                                                             Tensor whiteners,  // [B, N, D, D]
                                                             Tensor best,       // [B, M, L]
                                                             Tensor totals,     // [B, M, L]
                                                             Tensor path,       // [B, M]
                                                             std::vector<std::int64_t> sizes) {
    const Tree tree(points, heights, means, whiteners, sizes);
    const Shape shape = {tree.b, tree.m, tree.l()};
    check_shape(gradient, "gradient", shape);
    check_shape(best, "best", shape);
    check_shape(totals, "totals", shape);
    check_shape(path, "path", {tree.b, tree.m});
    make_contiguous({&gradient, &best, &totals, &path});
    Tensor of_points = empty_like_of(points, {tree.b, tree.m, tree.d});
    Tensor of_heights = empty_like_of(points, {tree.b, tree.n});
    Tensor of_means = empty_like_of(points, {tree.b, tree.n, tree.d});
    Tensor of_whiteners = empty_like_of(points, {tree.b, tree.n, tree.d, tree.d});
    dispatch(points, tree.d, [&]<typename T, int D>() {
      if (tree.b == 0) return;
      Backend::template backward<T, D>(
          points, tree.levels, tree.input<T>(points, heights, means, whiteners),
          TreeUpstream<T>{gradient.const_data_ptr<T>(), best.const_data_ptr<T>(), totals.const_data_ptr<T>(),
                          path.const_data_ptr<std::int64_t>()},
          TreeGradient<T>{of_points.mutable_data_ptr<T>(), of_heights.mutable_data_ptr<T>(),
                          of_means.mutable_data_ptr<T>(), of_whiteners.mutable_data_ptr<T>()});
    });
    return {of_points, of_heights, of_means, of_whiteners};
  }
};

}  // namespace gmcn
