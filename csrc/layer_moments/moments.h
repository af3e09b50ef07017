// layer_moments at one component and one object, or one a lane:
//
//   variance of z = v + sum_r u_r^2,   value = p E s(z),   reach_r = p E s'(z) u_r
//
// and the gradient for upstream A of value and C of reach, with S = sum_r C_r u_r (gmcn/nn/mean_answer.py derives it).
#pragma once

#include "activations.h"

namespace gmcn {

template <typename T>
struct LayerInput {
  const T *mean, *variance;  // [K, B]
  const T* along;            // [K, R, B]
  const T* weights;          // [K]
  std::int64_t k, r, b;
};

template <typename T>
struct LayerOutput {
  T* value;  // [K, B]
  T* reach;  // [K, R, B]
};

template <typename T>
struct LayerGradient {
  T *mean, *variance;  // [K, B]
  T* along;            // [K, R, B]
  T* weights;          // [K]
};

// At::load and At::store read and write one object of a row, or one a lane.
template <typename S, typename T, typename At>
GMCN_HD void moments(const LayerInput<T>& in, std::int64_t k, const At& at, const LayerOutput<T>& out) {
  using V = typename At::Value;
  const std::int64_t row = k * in.b, rows = row * in.r;
  V variance = at.load(in.variance + row);
  for (std::int64_t r = 0; r < in.r; ++r) {
    const V u = at.load(in.along + rows + r * in.b);
    variance += u * u;
  }
  const Smoothed<V> s = S::smoothed(at.load(in.mean + row), variance);
  const T p = in.weights[k];
  at.store(out.value + row, s.value * p);
  for (std::int64_t r = 0; r < in.r; ++r)
    at.store(out.reach + rows + r * in.b, at.load(in.along + rows + r * in.b) * (s.slope * p));
}

// Returns what the objects add to the gradient of the weight.
template <typename S, typename T, typename At>
GMCN_HD auto moments_vjp(const LayerInput<T>& in, std::int64_t k, const At& at, const LayerOutput<const T>& upstream,
                         const LayerGradient<T>& gradient) {
  using V = typename At::Value;
  const std::int64_t row = k * in.b, rows = row * in.r;
  V variance = at.load(in.variance + row), sum = {};
  for (std::int64_t r = 0; r < in.r; ++r) {
    const V u = at.load(in.along + rows + r * in.b);
    variance += u * u;
    sum += at.load(upstream.reach + rows + r * in.b) * u;
  }
  const Smoothed<V> s = S::smoothed(at.load(in.mean + row), variance);
  const V a = at.load(upstream.value + row);
  const T p = in.weights[k];
  const V twice = (a * s.curve + sum * s.third) * p, slope = s.slope * p;
  at.store(gradient.mean + row, (a * s.slope + sum * s.curve) * p);
  at.store(gradient.variance + row, twice * T(0.5));
  for (std::int64_t r = 0; r < in.r; ++r) {
    const std::int64_t here = rows + r * in.b;
    at.store(gradient.along + here, at.load(upstream.reach + here) * slope + at.load(in.along + here) * twice);
  }
  return a * s.value + sum * s.slope;
}

}  // namespace gmcn
