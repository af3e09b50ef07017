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

// Gradients with respect to x, f and g for the upstream gradient of a''.
template <typename T>
GMCN_HD void corrected_weight_vjp(T upstream, T x, T f, T g, T s0, T s1, T& x_gradient, T& f_gradient, T& g_gradient) {
  const T denominator = g + s1;
  if (denominator <= T(0)) {
    x_gradient = f_gradient = g_gradient = T(0);
    return;
  }
  const T ratio = (positive_part(f) + s0) / denominator;
  x_gradient = upstream * ratio;
  f_gradient = f > T(0) ? upstream * x / denominator : T(0);
  g_gradient = -upstream * x * ratio / denominator;
}

// The coarse weight's own derivative.
template <typename T>
GMCN_HD T coarse_weight_vjp(T upstream, T a) {
  return a > T(0) ? upstream : T(0);
}

}  // namespace gmcn
