// What one component is to one point, or to one a lane, and its gradient. To base two, so that exponentials are exp2:
//
//   s = height log2(e) - |t|^2,   t = sqrt(log2(e) / 2) W delta,   delta = x - mean,
//   log-density = ln 2 best + log total,   best = max s,   total = sum 2^(s - best),
//
// and with the shares h = upstream 2^(s - best) / total the gradients are sums over points (or components)
//
//   of height: h,   of mean: W^T (W delta) h,   of W: -(W delta) delta^T h,   of x: -W^T (W delta) h.
#pragma once

#include <cstdint>
#include <limits>

#include "../common/elementwise.h"
#include "../common/gaussian.h"

namespace gmcn {

// The levels' components lie one after the other; children of component i of a level are i c ... i c + c - 1 of the
// next.
struct TreeLevel {
  std::int64_t first, parents, children;  // the place of its first component; children of each parent
  std::int64_t paths;                     // through each parent: paths i paths ... i paths + paths - 1 through parent i
};

template <typename T>
struct TreeInput {
  const T *points, *heights, *means, *whiteners;  // [B, M, D], [B, N], [B, N, D], [B, N, D, D]
  std::int64_t b, m, n, l;
};

template <typename T>
struct TreeGradient {
  T *points, *heights, *means, *whiteners;
};

// What the backward pass needs of the forward pass. A point's path is its ancestor on the level before the last; with
// one level it is 0.
template <typename T>
struct TreeResult {
  T *values, *best, *totals;  // [B, M, L]
  std::int64_t* path;         // [B, M]
};
template <typename T>
struct TreeUpstream {
  const T *gradient, *best, *totals;  // [B, M, L]
  const std::int64_t* path;           // [B, M]

  // What the shares of a point are to be multiplied by: nothing without a candidate.
  GMCN_HD T scale(std::int64_t at) const { return totals[at] == T(0) ? T(0) : gradient[at] / totals[at]; }
};

template <typename T, int D>
struct TreeComponent {
  T mean[D], whitener[D][D], height;  // to base two
};

// Component i of all mixtures. One of height -inf has no part in anything, whatever the rest of it says.
template <typename T, int D>
GMCN_HD TreeComponent<T, D> tree_component(const TreeInput<T>& in, std::int64_t i) {
  TreeComponent<T, D> c;
  c.height = in.heights[i] * T(kLog2E);
  const bool dead = c.height == -std::numeric_limits<T>::infinity();
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) {
    c.mean[d] = dead ? T(0) : in.means[i * D + d];
    GMCN_UNROLL
    for (int e = 0; e < D; ++e) c.whitener[d][e] = dead ? T(0) : in.whiteners[(i * D + d) * D + e] * T(kWhitening);
  }
  return c;
}

template <typename T, int D, typename V>
GMCN_HD V tree_score(const TreeComponent<T, D>& c, const V* x, V* delta, V* t) {
  V score = V{} + c.height;
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) delta[d] = x[d] - c.mean[d];
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) {
    t[d] = delta[0] * c.whitener[d][0];
    GMCN_UNROLL
    for (int e = 1; e < D; ++e) t[d] += delta[e] * c.whitener[d][e];
    score -= t[d] * t[d];
  }
  return score;
}

// The largest s so far and which that is, and the total.
template <typename V>
struct LogSum {
  V best = V{} + std::numeric_limits<Scalar<V>>::lowest(), total = {};
  Index<V> index = {};

  GMCN_HD void see(V s, int i) {
    const auto better = s > best;
    const V part = Functions<V>::exp2(better ? best - s : s - best);  // what is not a number stays so
    total = better ? total * part + Scalar<V>(1) : total + part;
    best = better ? s : best;
    index = better ? Index<V>{} + i : index;
  }
  GMCN_HD V value() const { return best * Scalar<V>(kLn2Times2 / 2) + Functions<V>::log(total); }
};

// The sums of one component over points, in the order of its gradient: of height, mean and whitener.
template <int D>
inline constexpr int kTreeSums = 1 + D + D * D;

template <int D, typename V>
GMCN_HD void add_to_tree_sums(V h, const V* delta, const V* ht, V* sums) {
  sums[0] += h;
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) {
    sums[1 + d] += ht[d];
    GMCN_UNROLL
    for (int e = 0; e < D; ++e) sums[1 + D + d * D + e] += ht[d] * delta[e];
  }
}

template <typename T, int D, typename V>
GMCN_HD void add_to_tree_point(const TreeComponent<T, D>& c, const V* ht, V* sums) {
  GMCN_UNROLL
  for (int e = 0; e < D; ++e) {
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) sums[e] -= ht[d] * c.whitener[d][e];
  }
}

inline constexpr double kOfTreePoint = kLn2Times2;  // what the sums for a point have to be multiplied by

template <typename T, int D>
GMCN_HD void write_tree_gradient(const TreeComponent<T, D>& c, const T* sums, std::int64_t i,
                                 const TreeGradient<T>& gradient) {
  gradient.heights[i] = sums[0];
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) {
    T of_mean = 0;
    GMCN_UNROLL
    for (int e = 0; e < D; ++e) {
      of_mean += c.whitener[e][d] * sums[1 + e];
      gradient.whiteners[(i * D + d) * D + e] = sums[1 + D + d * D + e] * T(-1 / kWhitening);
    }
    gradient.means[i * D + d] = of_mean * T(kLn2Times2);
  }
}

}  // namespace gmcn
