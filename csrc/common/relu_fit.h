// Equations (6) and (7) at one centre, with the authors' constants as options:
//
//   x = max(0, a) + offset,   a'' = x (max(0, f) + s0) / (g + s1),
//
// f the mixture with weights a at the centre, g the mixture with weights x.
#pragma once

#include "macros.h"

namespace gmcn {

// max(0, x) that passes not-a-number on: a diverged network must not look like a silent one.
template <typename T>
GMCN_HD T positive_part(T x) {
  return x < T(0) ? T(0) : x;
}

template <typename T>
GMCN_HD T coarse_weight(T a, T offset) {
  return positive_part(a) + offset;
}

template <typename T>
GMCN_HD T corrected_weight(T x, T f, T g, T s0, T s1) {
  const T denominator = g + s1;
  return denominator <= T(0) ? T(0) : x * (positive_part(f) + s0) / denominator;
}

// Gradients with respect to x, f and g.
template <typename T>
struct FitGradient {
  T of_x, of_f, of_g;

  // Exactly so for centres where the mixture is negative and s0 is zero, or that nobody asks for: about a quarter of
  // those that are active need not be visited again. What is not a number is not zero.
  GMCN_HD bool is_zero() const { return of_x == T(0) && of_f == T(0) && of_g == T(0); }
};

// For the upstream gradient of a''.
template <typename T>
GMCN_HD FitGradient<T> corrected_weight_vjp(T upstream, T x, T f, T g, T s0, T s1) {
  const T denominator = g + s1;
  if (denominator <= T(0)) return {T(0), T(0), T(0)};
  const T ratio = (positive_part(f) + s0) / denominator;
  return {upstream * ratio, f > T(0) ? upstream * x / denominator : T(0), -upstream * x * ratio / denominator};
}

// The coarse weight's own derivative.
template <typename T>
GMCN_HD T coarse_weight_vjp(T upstream, T a) {
  return a > T(0) ? upstream : T(0);
}

}  // namespace gmcn
