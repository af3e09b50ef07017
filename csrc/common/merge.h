// One step of modified EM on a handful of Gaussians: m of them are replaced by t (section 4.1, equations 15 and 16).
// Every node of the reduction tree does this once. Forward and vector-Jacobian product. V is a number or a vector, each
// of whose lanes holds a merge.
//
// The authors' code and this one, beyond the paper: initial Gaussians by single-linkage clustering of the centres, a
// gate on the Kullback-Leibler divergence, `virtual_samples` per node, and the clips below.
#pragma once

#include "components.h"
#include "elementwise.h"

namespace gmcn {

inline constexpr int kMaxPerNode = 8;              // T, Gaussians a node keeps
inline constexpr int kMaxMerge = 2 * kMaxPerNode;  // Gaussians that meet in a node

inline constexpr double kClip = 1e-13;  // of likelihoods, responsibilities and sums
inline constexpr double kLogClip = -29.933606208922594;
inline constexpr double kMinWeight = 1e-7;  // lighter Gaussians are dropped when a node is made

template <typename T>
struct MergeOptions {
  T kl_threshold;
  T virtual_samples;
};

// Determinant and inverse of a packed positive definite matrix, by C = L diag(p) L^T: cofactors would cancel on
// needles.
template <typename V, int D>
GMCN_HD V invert(const V* c, V* inverse) {
  const V one = splat<V>(1), r0 = one / c[0], l1 = c[1] * r0;
  if constexpr (D == 2) {
    const V p1 = c[2] - l1 * c[1], r1 = one / p1;
    inverse[0] = r0 + l1 * l1 * r1, inverse[1] = -l1 * r1, inverse[2] = r1;
    return c[0] * p1;
  } else {
    const V l2 = c[2] * r0, p1 = c[3] - l1 * c[1], r1 = one / p1;
    const V l21 = (c[4] - l2 * c[1]) * r1, p2 = c[5] - l2 * c[2] - l21 * l21 * p1, r2 = one / p2;
    const V m2 = l1 * l21 - l2;  // entry (2, 0) of L^-1
    inverse[5] = r2, inverse[4] = -l21 * r2, inverse[2] = m2 * r2;
    inverse[3] = r1 + l21 * l21 * r2, inverse[1] = -l1 * r1 - m2 * l21 * r2;
    inverse[0] = r0 + l1 * l1 * r1 + m2 * m2 * r2;
    return c[0] * p1 * p2;
  }
}

// Everything that both directions of a merge of at most M Gaussians to K need.
template <typename V, int D, int M = kMaxMerge, int K = M>
struct Merge {
  Index<V> initial[K];         // [t] of the Gaussians that start the clusters
  V total, initial_total;      // clipped sums of weights
  V share[M];                  // [m] weight / total
  V log_prior[K];              // [t]
  V precision[K][kPacked<D>];  // [t]
  V log_likelihood[M][K];      // [m][t] expected log density under the initial Gaussian, not clipped
  V responsibility[M][K];      // [m][t]
  V new_share[K];              // [t]
};

// in[which], in each lane another.
template <typename V, int D>
GMCN_HD Gaussian<V, D> pick(const Gaussian<V, D>* in, int m, Index<V> which) {
  if constexpr (std::is_floating_point_v<V>) {
    return in[which];
  } else {
    Gaussian<V, D> g = in[0];
    for (int j = 1; j < m; ++j) {
      const auto here = which == j;
      g.weight = here ? in[j].weight : g.weight;
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) g.position[d] = here ? in[j].position[d] : g.position[d];
      GMCN_UNROLL
      for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] = here ? in[j].covariance[p] : g.covariance[p];
    }
    return g;
  }
}

// sum[which] += g, in each lane another.
template <typename V, int D>
GMCN_HD void accumulate_at(const Gaussian<V, D>& g, Index<V> which, int m, Gaussian<V, D>* sum) {
  if constexpr (std::is_floating_point_v<V>) {
    accumulate(g, g.weight, sum[which]);
  } else {
    for (int j = 0; j < m; ++j) {
      const auto here = which == j;
      sum[j].weight += here ? g.weight : V{};
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) sum[j].position[d] += here ? g.position[d] : V{};
      GMCN_UNROLL
      for (int p = 0; p < kPacked<D>; ++p) sum[j].covariance[p] += here ? g.covariance[p] : V{};
    }
  }
}

// Single linkage: the closest pair of different clusters is joined until t clusters remain. The heaviest member of each
// cluster starts it; clusters are ordered by their first member. Ties go to the smaller indices.
template <typename V, int D, int M>
GMCN_HD void select_initial(const Gaussian<V, D>* in, int m, int t, Index<V>* initial) {
  Index<V> cluster[M];  // its number is its first member
  V distance[M][M] = {};
  for (int i = 0; i < m; ++i) {
    cluster[i] = Index<V>{} + i;
    GMCN_UNROLL
    for (int j = 0; j < i; ++j) {
      distance[j][i] = V{};
      GMCN_UNROLL
      for (int d = 0; d < D; ++d)
        distance[j][i] += (in[i].position[d] - in[j].position[d]) * (in[i].position[d] - in[j].position[d]);
    }
  }
  for (int clusters = m; clusters > t; --clusters) {
    Index<V> a = {}, b = {};  // the same: none yet
    V closest = {};
    for (int i = 0; i < m; ++i)
      for (int j = i + 1; j < m; ++j) {
        const auto closer = (cluster[i] != cluster[j]) & ((a == b) | (distance[i][j] < closest));
        a = closer ? cluster[i] : a, b = closer ? cluster[j] : b, closest = closer ? distance[i][j] : closest;
      }
    const Index<V> into = a < b ? a : b, from = a < b ? b : a;
    for (int i = 0; i < m; ++i) cluster[i] = cluster[i] == from ? into : cluster[i];
  }
  Index<V> count = {};
  for (int c = 0; c < m; ++c) {
    Index<V> heaviest = Index<V>{} + c;
    V weight = in[c].weight;
    for (int i = c + 1; i < m; ++i) {
      const auto heavier = (cluster[i] == c) & (in[i].weight > weight);
      heaviest = heavier ? Index<V>{} + i : heaviest, weight = heavier ? in[i].weight : weight;
    }
    const auto starts = cluster[c] == c;
    for (int k = 0; k < t; ++k) initial[k] = starts & (count == k) ? heaviest : initial[k];
    count = starts ? count + 1 : count;
  }
}

// E step: responsibilities of the t initial Gaussians for the m given ones, equation (15).
template <typename V, int D, int M, int K>
GMCN_HD void expectation(const Gaussian<V, D>* in, int m, int t, const MergeOptions<Scalar<V>>& options,
                         Merge<V, D, M, K>& s) {
  const V clip = splat<V>(kClip), log_clip = splat<V>(kLogClip), half = splat<V>(0.5);
  Gaussian<V, D> start[K];
  V log_det[M] = {}, initial_log_det[K], sum = {}, initial_sum = {}, unused[kPacked<D>];
  for (int i = 0; i < m; ++i) {
    sum += in[i].weight;
    log_det[i] = Functions<V>::log(invert<V, D>(in[i].covariance, unused));
  }
  for (int k = 0; k < t; ++k) {
    start[k] = pick(in, m, s.initial[k]);
    initial_sum += start[k].weight;
    initial_log_det[k] = log_det[0];
    for (int i = 1; i < m; ++i) initial_log_det[k] = s.initial[k] == i ? log_det[i] : initial_log_det[k];
  }
  s.total = larger(sum, clip), s.initial_total = larger(initial_sum, clip);
  for (int k = 0; k < t; ++k) {
    s.log_prior[k] = Functions<V>::log(start[k].weight / s.initial_total);
    invert<V, D>(start[k].covariance, s.precision[k]);
    s.new_share[k] = V{};
  }
  for (int i = 0; i < m; ++i) {
    s.share[i] = in[i].weight / s.total;
    V divergence[K], joint[K], norm = {}, largest = log_clip, least = {};
    Index<V> nearest = {};
    for (int k = 0; k < t; ++k) {
      V delta[D], scaled[D], distance = {};
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) delta[d] = in[i].position[d] - start[k].position[d];
      multiply<V, D>(s.precision[k], delta, scaled);
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) distance += delta[d] * scaled[d];
      distance += inner<V, D>(s.precision[k], in[i].covariance);
      constexpr double log_two_pi = 1.8378770664093454836;
      s.log_likelihood[i][k] = -half * (splat<V>(D * log_two_pi) + initial_log_det[k] + distance);
      divergence[k] = half * (distance - splat<V>(D) - log_det[i] + initial_log_det[k]);
      divergence[k] = s.initial[k] == i ? V{} : divergence[k];  // exactly, whatever the rounding
      if (k == 0) least = divergence[0];
      const auto nearer = divergence[k] < least;
      nearest = nearer ? Index<V>{} + k : nearest, least = nearer ? divergence[k] : least;
    }
    for (int k = 0; k < t; ++k) {
      const V a = larger(s.log_likelihood[i][k], log_clip);
      const V log_joint = larger(s.log_prior[k] + options.virtual_samples * s.share[i] * a, log_clip);
      const auto open = (nearest == k) | (divergence[k] < splat<V>(options.kl_threshold));
      joint[k] = open ? log_joint : splat<V>(-INFINITY);
      largest = larger(joint[k], largest);
    }
    for (int k = 0; k < t; ++k) {  // the largest is divided out: a thin Gaussian's likelihood would overflow
      const V fraction = joint[k] == largest ? splat<V>(1) : Functions<V>::exp(joint[k] - largest);
      joint[k] = joint[k] < log_clip ? V{} : fraction;
      norm += joint[k];
    }
    for (int k = 0; k < t; ++k) {
      s.responsibility[i][k] = joint[k] / norm;
      s.new_share[k] += s.responsibility[i][k] * s.share[i];
    }
  }
}

// m Gaussians in, t out (t < m <= M). Mass, mean and second moment of the whole are conserved.
template <typename V, int D, int M, int K>
GMCN_HD void merge_sized(const Gaussian<V, D>* in, int m, int t, const MergeOptions<Scalar<V>>& options,
                         Merge<V, D, M, K>& s, Gaussian<V, D>* out) {
  select_initial<V, D, M>(in, m, t, s.initial);
  expectation<V, D>(in, m, t, options, s);
  for (int k = 0; k < t; ++k) {  // M step, equation (16)
    Gaussian<V, D> merged = {};
    V rho[M];
    for (int i = 0; i < m; ++i) {
      rho[i] = s.responsibility[i][k] * s.share[i] / larger(s.new_share[k], splat<V>(kClip));
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) merged.position[d] += rho[i] * in[i].position[d];
    }
    for (int i = 0; i < m; ++i) {
      V delta[D];
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) delta[d] = in[i].position[d] - merged.position[d];
      add_scaled<V, D>(rho[i], in[i].covariance, merged.covariance);
      add_outer<V, D>(rho[i], delta, merged.covariance);
    }
    const auto light = s.new_share[k] < splat<V>(kMinWeight);
    V identity[kPacked<D>];
    set_identity<V, D>(splat<V>(1), identity);
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) merged.covariance[p] = light ? identity[p] : merged.covariance[p];
    merged.weight = s.new_share[k] * s.total;
    out[k] = merged;
  }
}

// The M step's part of merge_vjp_sized: what reaches the inputs directly, and the responsibilities and shares.
template <typename V, int D, int M, int K>
GMCN_HD void maximisation_vjp(const Gaussian<V, D>* in, int m, int t, const Merge<V, D, M, K>& s,
                              const Gaussian<V, D>* out, const Gaussian<V, D>* upstream, Gaussian<V, D>* gradient,
                              V (*responsibility_gradient)[K], V* share_gradient, V& total_gradient) {
  for (int k = 0; k < t; ++k) {
    const V new_share_gradient = upstream[k].weight * s.total;
    const V divisor = larger(s.new_share[k], splat<V>(kClip));
    const auto light = s.new_share[k] < splat<V>(kMinWeight);  // its covariance is the identity
    V shape[kPacked<D>];
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p) shape[p] = light ? V{} : upstream[k].covariance[p];
    total_gradient += upstream[k].weight * s.new_share[k];
    for (int i = 0; i < m; ++i) {
      const V rho = s.responsibility[i][k] * s.share[i] / divisor;
      V delta[D], spread[kPacked<D>], scaled[D], rho_gradient = {};
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) {
        // Relative to the new mean: the divisor's own gradient is in that, and large terms do not cancel.
        delta[d] = in[i].position[d] - out[k].position[d];
        rho_gradient += upstream[k].position[d] * delta[d];
      }
      GMCN_UNROLL
      for (int p = 0; p < kPacked<D>; ++p) spread[p] = in[i].covariance[p] - out[k].covariance[p];
      add_outer<V, D>(splat<V>(1), delta, spread);
      rho_gradient += inner<V, D>(shape, spread);
      multiply<V, D>(shape, delta, scaled);
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) gradient[i].position[d] += rho * (upstream[k].position[d] + 2 * scaled[d]);
      add_scaled<V, D>(rho, shape, gradient[i].covariance);
      const V product_gradient = rho_gradient / divisor + new_share_gradient;  // of responsibility * share
      responsibility_gradient[i][k] = product_gradient * s.share[i];
      share_gradient[i] += product_gradient * s.responsibility[i][k];
    }
  }
}

// Adds to `gradient` of the m inputs what the upstream gradients of the t outputs (`out`, as merge made them from `s`)
// give. Clusters and gates are held fixed.
template <typename V, int D, int M, int K>
GMCN_HD void merge_vjp_sized(const Gaussian<V, D>* in, int m, int t, const MergeOptions<Scalar<V>>& options,
                             const Merge<V, D, M, K>& s, const Gaussian<V, D>* out, const Gaussian<V, D>* upstream,
                             Gaussian<V, D>* gradient) {
  const V clip = splat<V>(kClip), log_clip = splat<V>(kLogClip), half = splat<V>(0.5);
  V responsibility_gradient[M][K], share_gradient[M] = {}, total_gradient = {}, log_prior_sum = {};
  maximisation_vjp<V, D>(in, m, t, s, out, upstream, gradient, responsibility_gradient, share_gradient, total_gradient);
  for (int k = 0; k < t; ++k) {  // E step
    const Gaussian<V, D> start = pick(in, m, s.initial[k]);
    Gaussian<V, D> of_start = {};
    V covariance_sum[kPacked<D>] = {}, likelihood_sum = {}, log_prior_gradient = {};
    for (int i = 0; i < m; ++i) {
      const V a = larger(s.log_likelihood[i][k], log_clip);
      const auto free = (s.responsibility[i][k] != V{}) &  // not gated, not clipped
                        (s.log_prior[k] + options.virtual_samples * s.share[i] * a > log_clip);
      V mean = {};
      for (int j = 0; j < t; ++j) mean += responsibility_gradient[i][j] * s.responsibility[i][j];
      V joint_gradient = (responsibility_gradient[i][k] - mean) * s.responsibility[i][k];  // of its logarithm
      joint_gradient = free ? joint_gradient : V{};
      log_prior_gradient += joint_gradient;
      share_gradient[i] += options.virtual_samples * a * joint_gradient;
      V likelihood_gradient = options.virtual_samples * s.share[i] * joint_gradient;
      likelihood_gradient = s.log_likelihood[i][k] > log_clip ? likelihood_gradient : V{};
      V delta[D], scaled[D];
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) delta[d] = in[i].position[d] - start.position[d];
      multiply<V, D>(s.precision[k], delta, scaled);
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) {
        gradient[i].position[d] -= likelihood_gradient * scaled[d];
        of_start.position[d] += likelihood_gradient * scaled[d];
      }
      add_scaled<V, D>(-half * likelihood_gradient, s.precision[k], gradient[i].covariance);
      add_outer<V, D>(half * likelihood_gradient, scaled, of_start.covariance);
      add_scaled<V, D>(half * likelihood_gradient, in[i].covariance, covariance_sum);
      likelihood_sum += half * likelihood_gradient;
    }
    V through_precision[kPacked<D>];
    sandwich<V, D>(s.precision[k], covariance_sum, through_precision);
    add_scaled<V, D>(splat<V>(1), through_precision, of_start.covariance);
    add_scaled<V, D>(-likelihood_sum, s.precision[k], of_start.covariance);
    of_start.weight = log_prior_gradient / start.weight;
    log_prior_sum += log_prior_gradient;
    accumulate_at(of_start, s.initial[k], m, gradient);
  }
  const V initial_gradient = s.initial_total > clip ? log_prior_sum / s.initial_total : V{};
  for (int i = 0; i < m; ++i) total_gradient -= share_gradient[i] * s.share[i] / s.total;
  total_gradient = s.total > clip ? total_gradient : V{};
  for (int i = 0; i < m; ++i) {
    gradient[i].weight += share_gradient[i] / s.total + total_gradient;
    for (int k = 0; k < t; ++k) gradient[i].weight -= s.initial[k] == i ? initial_gradient : V{};
  }
}

// The same two with the sizes of T = 2, by far the most frequent, known to the compiler.
template <typename V, int D, int M, int K>
GMCN_HD void merge(const Gaussian<V, D>* in, int m, int t, const MergeOptions<Scalar<V>>& options, Merge<V, D, M, K>& s,
                   Gaussian<V, D>* out) {
  if (m == 4 && t == 2)
    merge_sized<V, D>(in, 4, 2, options, s, out);
  else if (m == 3 && t == 2)
    merge_sized<V, D>(in, 3, 2, options, s, out);
  else
    merge_sized<V, D>(in, m, t, options, s, out);
}

template <typename V, int D, int M, int K>
GMCN_HD void merge_vjp(const Gaussian<V, D>* in, int m, int t, const MergeOptions<Scalar<V>>& options,
                       const Merge<V, D, M, K>& s, const Gaussian<V, D>* out, const Gaussian<V, D>* upstream,
                       Gaussian<V, D>* gradient) {
  if (m == 4 && t == 2)
    merge_vjp_sized<V, D>(in, 4, 2, options, s, out, upstream, gradient);
  else if (m == 3 && t == 2)
    merge_vjp_sized<V, D>(in, 3, 2, options, s, out, upstream, gradient);
  else
    merge_vjp_sized<V, D>(in, m, t, options, s, out, upstream, gradient);
}

}  // namespace gmcn
