// Expectations of an activation s of a normal variable: E s and those of its first three derivatives. The formulas are
// those of gmcn/ops/reference/layer_moments.py.
#pragma once

#include <cstdint>

#include "../common/elementwise.h"

namespace gmcn {

enum class Activation : std::int64_t { linear, relu, erf, gelu };

template <typename V>
struct Smoothed {
  V value, slope, curve, third;
};

// The standard normal distribution at t, the same less 1/2, and the density; t is cut to where that is zero.
template <typename V>
struct Normal {
  V t, below, centred, at;
};

// c[0] + c[1] x + ...
template <typename V, int N>
GMCN_HD V polynomial(V x, const Scalar<V> (&c)[N]) {
  V p = x * c[N - 1] + c[N - 2];
  GMCN_UNROLL
  for (int i = N - 3; i >= 0; --i) p = p * x + c[i];
  return p;
}

// Mills' ratio, (1 - distribution) / density, at x >= 0: P(1 - 2 k r) r with r = 1 / (x + k). P interpolates at
// Chebyshev's nodes for x up to 15 (float, relative error 1.3e-8) or 40 (double, 1e-17).
template <typename V>
GMCN_HD V mills_ratio(V x) {
  if constexpr (sizeof(Scalar<V>) == 4) {
    constexpr float c[] = {1.89321908f,    -1.52377079f,    0.970407756f,   -0.467544595f,   0.151415853f,
                           -0.0188633865f, -0.00882577003f, 0.00392758994f, 0.000473744019f, -0.000314728199f};
    const V r = 1.0f / (x + 4.0f);
    return polynomial(1.0f - 8.0f * r, c) * r;
  } else {
    constexpr double c[] = {
        1.9485319307624095449,      -1.7571690543441031967,    1.4261935116084018473,    -1.0375024310762617914,
        0.67171182149970417293,     -0.38271258666977648684,   0.18842804927222630287,   -0.077668667954589691473,
        0.025141032022349390866,    -0.0053431418447265489083, 8.2392854986028676462e-5, 4.5460288530986132629e-4,
        -1.6230912430866762559e-4,  2.6971194820371933783e-6,  1.7036468980190435346e-5, -4.5135766312908465166e-6,
        -1.0792498878994411566e-6,  7.8138894236975264351e-7,  2.4210548752799747472e-8, -1.1066589295094886661e-7,
        -4.3568474170153916358e-10, 1.2889053240297830085e-8,  2.1540821303400320006e-9};
    const V r = 1.0 / (x + 6.0);
    return polynomial(1.0 - 12.0 * r, c) * r;
  }
}

// c[i] = (-1)^i / (i! (2 i + 1)), of erf(x) = 2 x / sqrt(pi) sum_i c[i] x^(2 i).
template <typename T, int N>
struct Series {
  T c[N];

  constexpr Series() : c{} {
    double factorial = 1;
    for (int i = 0; i < N; factorial *= ++i) c[i] = T((i % 2 ? -1 : 1) / (factorial * (2 * i + 1)));
  }
};

template <typename V>
GMCN_HD Normal<V> normal(V t) {
  constexpr bool kSingle = sizeof(Scalar<V>) == 4;
  constexpr Series<Scalar<V>, kSingle ? 7 : 13> kSeries;  // its next term is below the rounding for t^2 / 2 <= 1/4
  const V zero = {}, half = splat<V>(0.5), far = splat<V>(kSingle ? 15 : 40);
  const V peak = splat<V>(0.39894228040143267794);  // 1 / sqrt(2 pi)
  t = t > far ? far : (t < -far ? -far : t);        // not-a-number stays
  const V energy = t * t * half, at = Functions<V>::exp2(energy * splat<V>(-1.4426950408889634074)) * peak;  // log2(e)
  const V tail = at * mills_ratio(t > zero ? t : -t), rest = half - tail;
  const V centred = energy < splat<V>(0.25) ? polynomial(energy, kSeries.c) * t * peak : (t > zero ? rest : -rest);
  return {t, t < splat<V>(-0.75) ? tail : half + centred, centred, at};
}

struct Linear {
  template <typename V>
  static GMCN_HD Smoothed<V> smoothed(V mean, V) {
    return {mean, splat<V>(1), V{}, V{}};
  }
};

struct Relu {
  template <typename V>
  static GMCN_HD Smoothed<V> smoothed(V mean, V variance) {
    constexpr double eps = sizeof(Scalar<V>) == 4 ? 0x1p-23 : 0x1p-52;
    const V deviation = root(variance + splat<V>(64 * eps * eps)), over = splat<V>(1) / deviation;
    const Normal<V> n = normal(mean * over);
    const V curve = n.at * over;
    return {mean * n.below + deviation * n.at, n.below, curve, -n.t * curve * over};
  }
};

struct Erf {
  template <typename V>
  static GMCN_HD Smoothed<V> smoothed(V mean, V variance) {
    const V one = splat<V>(1), two = splat<V>(2), shrink = one / root(one + two * variance);
    const Normal<V> n = normal(mean * shrink * splat<V>(1.4142135623730950488));
    const V scale = shrink * splat<V>(1.4142135623730950488), slope = two * scale * n.at;
    return {two * n.centred, slope, -n.t * scale * slope, (n.t * n.t - one) * scale * scale * slope};
  }
};

struct Gelu {
  template <typename V>
  static GMCN_HD Smoothed<V> smoothed(V mean, V variance) {
    const V one = splat<V>(1), shrink = one / root(one + variance);
    const Normal<V> n = normal(mean * shrink);
    const V at = shrink * n.at, square = shrink * shrink, bend = square * n.t * n.t;
    return {mean * n.below + variance * at, n.below + n.t * shrink * at, at * (one + square - bend),
            -n.t * shrink * at * (one + splat<V>(3) * square - bend)};
  }
};

// f.operator()<S>() for the activation S of this name.
template <typename F>
inline __attribute__((always_inline)) void with(Activation name, const F& f) {
  switch (name) {
    case Activation::linear:
      return f.template operator()<Linear>();
    case Activation::relu:
      return f.template operator()<Relu>();
    case Activation::erf:
      return f.template operator()<Erf>();
    case Activation::gelu:
      return f.template operator()<Gelu>();
  }
}

}  // namespace gmcn
