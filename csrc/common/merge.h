// One step of modified EM on a handful of Gaussians: m of them are replaced by t (section 4.1, equations 15 and 16).
// Every node of the reduction tree does this once. Forward and vector-Jacobian product.
//
// The authors' code and this one, beyond the paper: initial Gaussians by single-linkage clustering of the centres, a
// gate on the Kullback-Leibler divergence, `virtual_samples` per node, and the clips below.
#pragma once

#include "components.h"

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
template <typename T, int D>
GMCN_HD T invert(const T* c, T* inverse) {
  const T r0 = T(1) / c[0], l1 = c[1] * r0;
  if constexpr (D == 2) {
    const T p1 = c[2] - l1 * c[1], r1 = T(1) / p1;
    inverse[0] = r0 + l1 * l1 * r1, inverse[1] = -l1 * r1, inverse[2] = r1;
    return c[0] * p1;
  } else {
    const T l2 = c[2] * r0, p1 = c[3] - l1 * c[1], r1 = T(1) / p1;
    const T l21 = (c[4] - l2 * c[1]) * r1, p2 = c[5] - l2 * c[2] - l21 * l21 * p1, r2 = T(1) / p2;
    const T m2 = l1 * l21 - l2;  // entry (2, 0) of L^-1
    inverse[5] = r2, inverse[4] = -l21 * r2, inverse[2] = m2 * r2;
    inverse[3] = r1 + l21 * l21 * r2, inverse[1] = -l1 * r1 - m2 * l21 * r2;
    inverse[0] = r0 + l1 * l1 * r1 + m2 * m2 * r2;
    return c[0] * p1 * p2;
  }
}

// Everything that both directions of a merge need.
template <typename T, int D, int M = kMaxMerge>
struct Merge {
  int initial[M];              // [t] indices of the Gaussians that start the clusters
  T total, initial_total;      // clipped sums of weights
  T share[M];                  // [m] weight / total
  T log_prior[M];              // [t]
  T precision[M][kPacked<D>];  // [t]
  T log_likelihood[M][M];      // [m][t] expected log density under the initial Gaussian, not clipped
  T responsibility[M][M];      // [m][t]
  T new_share[M];              // [t]
};

// Single linkage: the closest pair of different clusters is joined until t clusters remain. The heaviest member of each
// cluster starts it; clusters are ordered by their first member. Ties go to the smaller indices.
template <typename T, int D, int M>
GMCN_HD void select_initial(const Gaussian<T, D>* in, int m, int t, int* initial) {
  int cluster[M];
  T distance[M][M];
  for (int i = 0; i < m; ++i) {
    cluster[i] = i;
    GMCN_UNROLL
    for (int j = 0; j < i; ++j) {
      distance[j][i] = 0;
      GMCN_UNROLL
      for (int d = 0; d < D; ++d)
        distance[j][i] += (in[i].position[d] - in[j].position[d]) * (in[i].position[d] - in[j].position[d]);
    }
  }
  for (int clusters = m; clusters > t; --clusters) {
    int a = 0, b = 0;
    T closest = 0;
    for (int i = 0; i < m; ++i)
      for (int j = i + 1; j < m; ++j)
        if ((cluster[i] != cluster[j]) & ((a == b) | (distance[i][j] < closest)))
          a = i, b = j, closest = distance[i][j];
    const int into = cluster[a] < cluster[b] ? cluster[a] : cluster[b];
    const int from = cluster[a] < cluster[b] ? cluster[b] : cluster[a];
    for (int i = 0; i < m; ++i)
      if (cluster[i] == from) cluster[i] = into;
  }
  int count = 0;
  for (int c = 0; c < m; ++c) {  // a cluster's number is its first member
    if (cluster[c] != c) continue;
    int heaviest = c;
    for (int i = c + 1; i < m; ++i)
      if (cluster[i] == c && in[i].weight > in[heaviest].weight) heaviest = i;
    initial[count++] = heaviest;
  }
}

// E step: responsibilities of the t initial Gaussians for the m given ones, equation (15).
template <typename T, int D, int M>
GMCN_HD void expectation(const Gaussian<T, D>* in, int m, int t, const MergeOptions<T>& options, Merge<T, D, M>& s) {
  const T clip = T(kClip), log_clip = T(kLogClip);
  T log_det[M], initial_log_det[M];
  T sum = 0, initial_sum = 0, unused[kPacked<D>];
  for (int i = 0; i < m; ++i) {
    sum += in[i].weight;
    log_det[i] = std::log(invert<T, D>(in[i].covariance, unused));
  }
  for (int k = 0; k < t; ++k) initial_sum += in[s.initial[k]].weight;
  s.total = sum > clip ? sum : clip;
  s.initial_total = initial_sum > clip ? initial_sum : clip;
  for (int k = 0; k < t; ++k) {
    const Gaussian<T, D>& start = in[s.initial[k]];
    s.log_prior[k] = std::log(start.weight / s.initial_total);
    invert<T, D>(start.covariance, s.precision[k]);
    initial_log_det[k] = log_det[s.initial[k]];
    s.new_share[k] = 0;
  }
  for (int i = 0; i < m; ++i) {
    s.share[i] = in[i].weight / s.total;
    T divergence[M], joint[M], norm = 0, largest = log_clip;
    int nearest = 0;
    for (int k = 0; k < t; ++k) {
      T delta[D], scaled[D], distance = 0;
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) delta[d] = in[i].position[d] - in[s.initial[k]].position[d];
      multiply<T, D>(s.precision[k], delta, scaled);
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) distance += delta[d] * scaled[d];
      distance += inner<T, D>(s.precision[k], in[i].covariance);
      const T log_two_pi = T(1.8378770664093454836);
      s.log_likelihood[i][k] = T(-0.5) * (D * log_two_pi + initial_log_det[k] + distance);
      divergence[k] = T(0.5) * (distance - D - log_det[i] + initial_log_det[k]);
      if (i == s.initial[k]) divergence[k] = 0;  // exactly, whatever the rounding
      if (divergence[k] < divergence[nearest]) nearest = k;
    }
    for (int k = 0; k < t; ++k) {
      joint[k] = -T(INFINITY);
      if (k == nearest || divergence[k] < options.kl_threshold) {
        const T a = s.log_likelihood[i][k] > log_clip ? s.log_likelihood[i][k] : log_clip;
        const T log_joint = s.log_prior[k] + options.virtual_samples * s.share[i] * a;
        joint[k] = log_joint > log_clip ? log_joint : log_clip;
        largest = joint[k] > largest ? joint[k] : largest;
      }
    }
    for (int k = 0; k < t; ++k) {  // the largest is divided out: a thin Gaussian's likelihood would overflow
      joint[k] = joint[k] < log_clip ? T(0) : joint[k] == largest ? T(1) : std::exp(joint[k] - largest);
      norm += joint[k];
    }
    for (int k = 0; k < t; ++k) {
      s.responsibility[i][k] = joint[k] / norm;
      s.new_share[k] += s.responsibility[i][k] * s.share[i];
    }
  }
}

// m Gaussians in, t out (t < m <= M). Mass, mean and second moment of the whole are conserved.
template <typename T, int D, int M>
GMCN_HD void merge_sized(const Gaussian<T, D>* in, int m, int t, const MergeOptions<T>& options, Merge<T, D, M>& s,
                         Gaussian<T, D>* out) {
  select_initial<T, D, M>(in, m, t, s.initial);
  expectation<T, D>(in, m, t, options, s);
  for (int k = 0; k < t; ++k) {  // M step, equation (16)
    Gaussian<T, D> merged = {};
    const T divisor = s.new_share[k] > T(kClip) ? s.new_share[k] : T(kClip);
    for (int i = 0; i < m; ++i) {
      GMCN_UNROLL
      for (int d = 0; d < D; ++d)
        merged.position[d] += s.responsibility[i][k] * s.share[i] / divisor * in[i].position[d];
    }
    for (int i = 0; i < m; ++i) {
      const T rho = s.responsibility[i][k] * s.share[i] / divisor;
      T delta[D];
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) delta[d] = in[i].position[d] - merged.position[d];
      add_scaled<T, D>(rho, in[i].covariance, merged.covariance);
      add_outer<T, D>(rho, delta, merged.covariance);
    }
    if (s.new_share[k] < T(kMinWeight)) set_identity<T, D>(T(1), merged.covariance);
    merged.weight = s.new_share[k] * s.total;
    out[k] = merged;
  }
}

// Adds to `gradient` of the m inputs what the upstream gradients of the t outputs (`out`, as merge made them from `s`)
// give. Clusters and gates are held fixed.
template <typename T, int D, int M>
GMCN_HD void merge_vjp_sized(const Gaussian<T, D>* in, int m, int t, const MergeOptions<T>& options,
                             const Merge<T, D, M>& s, const Gaussian<T, D>* out, const Gaussian<T, D>* upstream,
                             Gaussian<T, D>* gradient) {
  const T clip = T(kClip), log_clip = T(kLogClip);
  T responsibility_gradient[M][M], share_gradient[M] = {};
  T total_gradient = 0;
  for (int k = 0; k < t; ++k) {  // M step
    const T new_share_gradient = upstream[k].weight * s.total;
    const T divisor = s.new_share[k] > clip ? s.new_share[k] : clip;
    const bool with_covariance = !(s.new_share[k] < T(kMinWeight));
    total_gradient += upstream[k].weight * s.new_share[k];
    for (int i = 0; i < m; ++i) {
      const T rho = s.responsibility[i][k] * s.share[i] / divisor;
      T delta[D], spread[kPacked<D>], scaled[D], rho_gradient = 0;
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) {
        // Relative to the new mean: the divisor's own gradient is in that, and large terms do not cancel.
        delta[d] = in[i].position[d] - out[k].position[d];
        rho_gradient += upstream[k].position[d] * delta[d];
        gradient[i].position[d] += rho * upstream[k].position[d];
      }
      if (with_covariance) {
        GMCN_UNROLL
        for (int p = 0; p < kPacked<D>; ++p) spread[p] = in[i].covariance[p] - out[k].covariance[p];
        add_outer<T, D>(T(1), delta, spread);
        rho_gradient += inner<T, D>(upstream[k].covariance, spread);
        multiply<T, D>(upstream[k].covariance, delta, scaled);
        GMCN_UNROLL
        for (int d = 0; d < D; ++d) gradient[i].position[d] += 2 * rho * scaled[d];
        add_scaled<T, D>(rho, upstream[k].covariance, gradient[i].covariance);
      }
      const T product_gradient = rho_gradient / divisor + new_share_gradient;  // of responsibility * share
      responsibility_gradient[i][k] = product_gradient * s.share[i];
      share_gradient[i] += product_gradient * s.responsibility[i][k];
    }
  }
  T log_prior_sum = 0, log_prior_gradient[M] = {};
  for (int k = 0; k < t; ++k) {  // E step
    const int start = s.initial[k];
    T outer_sum[kPacked<D>] = {}, covariance_sum[kPacked<D>] = {}, likelihood_sum = 0;
    for (int i = 0; i < m; ++i) {
      if (s.responsibility[i][k] == T(0)) continue;  // gated
      const T a = s.log_likelihood[i][k] > log_clip ? s.log_likelihood[i][k] : log_clip;
      if (s.log_prior[k] + options.virtual_samples * s.share[i] * a <= log_clip) continue;  // clipped
      T mean = 0;
      for (int j = 0; j < t; ++j) mean += responsibility_gradient[i][j] * s.responsibility[i][j];
      const T joint_gradient = (responsibility_gradient[i][k] - mean) * s.responsibility[i][k];  // of its logarithm
      log_prior_gradient[k] += joint_gradient;
      share_gradient[i] += options.virtual_samples * a * joint_gradient;
      if (!(s.log_likelihood[i][k] > log_clip)) continue;
      const T likelihood_gradient = options.virtual_samples * s.share[i] * joint_gradient;
      T delta[D], scaled[D];
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) delta[d] = in[i].position[d] - in[start].position[d];
      multiply<T, D>(s.precision[k], delta, scaled);
      GMCN_UNROLL
      for (int d = 0; d < D; ++d) {
        gradient[i].position[d] -= likelihood_gradient * scaled[d];
        gradient[start].position[d] += likelihood_gradient * scaled[d];
      }
      add_scaled<T, D>(T(-0.5) * likelihood_gradient, s.precision[k], gradient[i].covariance);
      add_outer<T, D>(likelihood_gradient, scaled, outer_sum);
      add_scaled<T, D>(likelihood_gradient, in[i].covariance, covariance_sum);
      likelihood_sum += likelihood_gradient;
    }
    T through_precision[kPacked<D>];
    sandwich<T, D>(s.precision[k], covariance_sum, through_precision);
    GMCN_UNROLL
    for (int p = 0; p < kPacked<D>; ++p)
      gradient[start].covariance[p] +=
          T(0.5) * (outer_sum[p] + through_precision[p] - likelihood_sum * s.precision[k][p]);
    log_prior_sum += log_prior_gradient[k];
    gradient[start].weight += log_prior_gradient[k] / in[start].weight;
  }
  if (s.initial_total > clip)
    for (int k = 0; k < t; ++k) gradient[s.initial[k]].weight -= log_prior_sum / s.initial_total;
  for (int i = 0; i < m; ++i) total_gradient -= share_gradient[i] * s.share[i] / s.total;
  for (int i = 0; i < m; ++i)
    gradient[i].weight += share_gradient[i] / s.total + (s.total > clip ? total_gradient : T(0));
}

// The same two with the sizes of T = 2, by far the most frequent, known to the compiler.
template <typename T, int D, int M>
GMCN_HD void merge(const Gaussian<T, D>* in, int m, int t, const MergeOptions<T>& options, Merge<T, D, M>& s,
                   Gaussian<T, D>* out) {
  if (m == 4 && t == 2)
    merge_sized<T, D>(in, 4, 2, options, s, out);
  else if (m == 3 && t == 2)
    merge_sized<T, D>(in, 3, 2, options, s, out);
  else
    merge_sized<T, D>(in, m, t, options, s, out);
}

template <typename T, int D, int M>
GMCN_HD void merge_vjp(const Gaussian<T, D>* in, int m, int t, const MergeOptions<T>& options, const Merge<T, D, M>& s,
                       const Gaussian<T, D>* out, const Gaussian<T, D>* upstream, Gaussian<T, D>* gradient) {
  if (m == 4 && t == 2)
    merge_vjp_sized<T, D>(in, 4, 2, options, s, out, upstream, gradient);
  else if (m == 3 && t == 2)
    merge_vjp_sized<T, D>(in, 3, 2, options, s, out, upstream, gradient);
  else
    merge_vjp_sized<T, D>(in, m, t, options, s, out, upstream, gradient);
}

}  // namespace gmcn
