// A Gaussian evaluated at a point, equation (1), in the form that is fast and does not cancel:
//
//   normal(x; mu, C) = scale * exp2(-|t|^2),   t = W (x - mu),   W = sqrt(log2(e) / 2) L^-1,   C = L L^T,
//   scale = (2 pi)^(-D/2) det(L)^-1.
//
// V is a scalar or a vector of lanes, each lane one point; the Gaussian is the same in all lanes.
#pragma once

#include "symmetric.h"

namespace gmcn {

inline constexpr double kLog2E = 1.4426950408889634074;
inline constexpr double kTwoPi = 6.2831853071795864769;
inline constexpr double kLn2Times2 = 1.3862943611198906188;  // 1 / (log2(e) / 2)

inline constexpr double kWhitening = 0.84932180028801904272;  // sqrt(log2(e) / 2)

template <typename T, int D>
inline constexpr T kNormalisation = D == 2 ? T(1 / kTwoPi) : T(0.063493635934240969);  // (2 pi)^(-D/2)

template <typename T, int D>
struct Whitened {
  T position[D];
  T factor[kPacked<D>];  // W, lower triangular by rows, scaled as above
  T scale;
};

// factor and scale for a packed covariance; returns whether it is positive definite. T is V's element.
template <typename T, int D, typename V>
GMCN_HD auto whiten(const V* covariance, V* factor, V& scale) {
  const auto good = inverse_cholesky<V, D>(covariance, factor);
  scale = V{} + kNormalisation<T, D>;
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) scale *= factor[i * (i + 1) / 2 + i];
  GMCN_UNROLL
  for (int i = 0; i < kPacked<D>; ++i) factor[i] *= T(kWhitening);
  return good;
}

template <typename T, int D>
GMCN_HD bool whiten(const T* position, const T* covariance, Whitened<T, D>& result) {
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) result.position[i] = position[i];
  return whiten<T, D, T>(covariance, result.factor, result.scale);
}

// t = W (x - mu). Either may be the same in all lanes, x or the Gaussian.
template <int D, typename X, typename P, typename F, typename V>
GMCN_HD void standardise(const X* x, const P* position, const F* factor, V* t) {
  V d[D];
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) d[i] = x[i] - position[i];
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    t[i] = d[0] * factor[i * (i + 1) / 2];
    GMCN_UNROLL
    for (int j = 1; j <= i; ++j) t[i] += d[j] * factor[i * (i + 1) / 2 + j];
  }
}

// The least |t|^2 that a point of the box centre +- half can have, or something smaller. V as above, each lane one box.
template <int D, typename V, typename T>
GMCN_HD V least_squared_norm(const V* centre, const V* half, const T* position, const T* factor) {
  V t[D], sum = {};
  standardise<D>(centre, position, factor, t);
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    V gap = t[i] < V{} ? -t[i] : t[i];
    GMCN_UNROLL
    for (int j = 0; j <= i; ++j) {
      const T w = factor[i * (i + 1) / 2 + j];
      gap -= half[j] * (w < T(0) ? -w : w);
    }
    gap = gap < V{} ? V{} : gap;
    sum += gap * gap;
  }
  return sum;
}

// The sums over points that the gradient of one Gaussian needs. With e = exp2(-|t|^2), upstream gradients g of the
// value and h = g * scale * weight:
//   zeroth = sum g e (one per set of weights),  first = sum h e t,  second = sum h e t t^T.
// whitened_vjp turns them into gradients of weight, position and covariance:
//   d/dw = scale zeroth,   d/dmu = 2 ln2 W^T first,   d/dC = ln2 W^T (2 ln2 second - (sum h e) 1) W.
// V is a scalar or a vector of lanes, T its element.
template <typename T, int D, typename V>
GMCN_HD void whitened_vjp(const V* factor, V weighted_zeroth, const V* first, const V* second, V* position_gradient,
                          V* covariance_gradient) {  // both are added to
  V inside[kPacked<D>], outside[kPacked<D>];
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = i; j < D; ++j)
      inside[packed<D>(i, j)] = T(kLn2Times2) * second[packed<D>(i, j)] - (i == j ? weighted_zeroth : V{});
  }
  congruence<V, D>(factor, inside, outside);
  add_scaled<V, D>(V{} + T(0.5 * kLn2Times2), outside, covariance_gradient);
  GMCN_UNROLL
  for (int j = 0; j < D; ++j) {
    GMCN_UNROLL
    for (int i = j; i < D; ++i) position_gradient[j] += T(kLn2Times2) * factor[i * (i + 1) / 2 + j] * first[i];
  }
}

}  // namespace gmcn
