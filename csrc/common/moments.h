// The Gaussian with the mass, mean and covariance of a group of others (section 6), by two passes over the group: all
// members to add_to_mean, then all to add_to_covariance. The vector-Jacobian product goes to each member separately.
#pragma once

#include "components.h"

namespace gmcn {

template <typename T, int D>
GMCN_HD void add_to_mean(const Gaussian<T, D>& member, Gaussian<T, D>& group) {
  group.weight += member.weight;
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) group.position[d] += member.weight * member.position[d];
}

// Between the passes. False: the group has no mass, and stands as the identity at the origin.
template <typename T, int D>
GMCN_HD bool finish_mean(Gaussian<T, D>& group) {
  if (group.weight == T(0)) {
    group = {};
    set_identity<T, D>(T(1), group.covariance);
    return false;
  }
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) group.position[d] /= group.weight;
  return true;
}

template <typename T, int D>
GMCN_HD void add_to_covariance(const Gaussian<T, D>& member, const Gaussian<T, D>& group, T* covariance) {
  T delta[D];
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) delta[d] = member.position[d] - group.position[d];
  add_scaled<T, D>(member.weight / group.weight, member.covariance, covariance);
  add_outer<T, D>(member.weight / group.weight, delta, covariance);
}

// The gradient of one member from that of the finished group.
template <typename T, int D>
GMCN_HD Gaussian<T, D> moments_vjp(const Gaussian<T, D>& member, const Gaussian<T, D>& group,
                                   const Gaussian<T, D>& upstream) {
  Gaussian<T, D> gradient = {};
  gradient.weight = upstream.weight;
  if (group.weight == T(0)) return gradient;
  const T share = member.weight / group.weight;
  T delta[D], spread[kPacked<D>], scaled[D], shape = 0;
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) {
    delta[d] = member.position[d] - group.position[d];
    shape += upstream.position[d] * delta[d];
  }
  GMCN_UNROLL
  for (int p = 0; p < kPacked<D>; ++p) spread[p] = member.covariance[p] - group.covariance[p];
  add_outer<T, D>(T(1), delta, spread);
  gradient.weight += (shape + inner<T, D>(upstream.covariance, spread)) / group.weight;
  multiply<T, D>(upstream.covariance, delta, scaled);
  GMCN_UNROLL
  for (int d = 0; d < D; ++d) gradient.position[d] = share * (upstream.position[d] + 2 * scaled[d]);
  add_scaled<T, D>(share, upstream.covariance, gradient.covariance);
  return gradient;
}

}  // namespace gmcn
