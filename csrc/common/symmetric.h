// Symmetric D x D matrices, D = 2 or 3, stored packed by rows of the upper triangle: xx xy yy, or xx xy xz yy yz zz.
//
// Gradients of packed matrices are packed too and hold dL/dC as a symmetric matrix (each off-diagonal entry once, with
// the value that both C_ij and C_ji receive), so that dL = sum_ij G_ij dC_ij = inner(G, dC).
#pragma once

#include <cmath>
#include <type_traits>

#include "elementwise.h"

namespace gmcn {

template <int D>
inline constexpr int kPacked = D * (D + 1) / 2;

// Index of entry (i, j) in packed storage.
template <int D>
GMCN_HD constexpr int packed(int i, int j) {
  return i <= j ? i * D - i * (i - 1) / 2 + (j - i) : packed<D>(j, i);
}

template <typename T, int D>
GMCN_HD void pack(const T* full, T* result) {  // [D, D] -> packed, the mean of both triangles
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = i; j < D; ++j) result[packed<D>(i, j)] = T(0.5) * (full[i * D + j] + full[j * D + i]);
  }
}

template <typename T, int D>
GMCN_HD void unpack(const T* symmetric, T* full) {  // packed -> [D, D]
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = 0; j < D; ++j) full[i * D + j] = symmetric[packed<D>(i, j)];
  }
}

template <typename T, int D>
GMCN_HD T trace(const T* a) {
  T sum = {};
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) sum += a[packed<D>(i, i)];
  return sum;
}

template <typename T, int D>
GMCN_HD T inner(const T* a, const T* b) {  // sum_ij a_ij b_ij = tr(a b)
  T sum = {};
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = i; j < D; ++j) sum += (i == j ? T{} + 1 : T{} + 2) * a[packed<D>(i, j)] * b[packed<D>(i, j)];
  }
  return sum;
}

template <typename T, int D>
GMCN_HD void multiply(const T* a, const T* x, T* y) {  // y = a x
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    y[i] = T{};
    GMCN_UNROLL
    for (int j = 0; j < D; ++j) y[i] += a[packed<D>(i, j)] * x[j];
  }
}

template <typename T, int D>
GMCN_HD void add_outer(T scale, const T* x, T* a) {  // a += scale x x^T
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = i; j < D; ++j) a[packed<D>(i, j)] += scale * x[i] * x[j];
  }
}

template <typename T, int D>
GMCN_HD void add_scaled(T scale, const T* a, T* b) {  // b += scale a
  GMCN_UNROLL
  for (int i = 0; i < kPacked<D>; ++i) b[i] += scale * a[i];
}

template <typename T, int D>
GMCN_HD void set_identity(T scale, T* a) {
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = i; j < D; ++j) a[packed<D>(i, j)] = i == j ? scale : T{};
  }
}

template <typename T, int D>
GMCN_HD void sandwich(const T* a, const T* b, T* c) {  // c = a b a, symmetric again
  T ab[D][D];
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = 0; j < D; ++j) {
      ab[i][j] = T{};
      GMCN_UNROLL
      for (int k = 0; k < D; ++k) ab[i][j] += a[packed<D>(i, k)] * b[packed<D>(k, j)];
    }
  }
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = i; j < D; ++j) {
      T sum = {};
      GMCN_UNROLL
      for (int k = 0; k < D; ++k) sum += ab[i][k] * a[packed<D>(k, j)];
      c[packed<D>(i, j)] = sum;
    }
  }
}

// 1 / sqrt(x) for a scalar or each lane of a vector.
template <typename V>
GMCN_HD V inverse_root(V x) {
  return splat<V>(1) / root(x);
}

// Inverse Cholesky factor W of a covariance C = L L^T: W = L^-1, lower triangular, stored by rows (w00, w10, w11, ...),
// so that x^T C^-1 x = |W x|^2. V is a scalar or a vector of lanes, each of them a matrix; returns whether it is
// positive definite and finite (W is of no use where it is not).
template <typename V, int D>
GMCN_HD auto inverse_cholesky(const V* c, V* w) {
  // C = M P M^T with a unit triangle M and pivots P = diag(p): fewer roundings than with roots from the start.
  V m[D][D] = {}, mp[D][D] = {}, inverse[D][D] = {};
  auto good = c[0] > V{};
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = 0; j <= i; ++j) {
      mp[i][j] = c[packed<D>(j, i)];
      GMCN_UNROLL
      for (int k = 0; k < j; ++k) mp[i][j] -= m[i][k] * mp[j][k];
      if (j < i) m[i][j] = mp[i][j] / mp[j][j];
    }
    good = good & (mp[i][i] > V{}) & (mp[i][i] < V{} + INFINITY);
  }
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = 0; j < i; ++j) {
      inverse[i][j] = -m[i][j];
      GMCN_UNROLL
      for (int k = j + 1; k < i; ++k) inverse[i][j] -= m[i][k] * inverse[k][j];
    }
    const V root = inverse_root(mp[i][i]);
    GMCN_UNROLL
    for (int j = 0; j < i; ++j) w[i * (i + 1) / 2 + j] = inverse[i][j] * root;
    w[i * (i + 1) / 2 + i] = root;
  }
  return good;
}

// By the signs of the pivots; false for what is not a number.
template <typename V, int D>
GMCN_HD auto is_positive_definite(const V* c) {
  const V minor = c[0] * c[D] - c[1] * c[1];
  const auto good = (c[0] > V{}) & (minor > V{});
  if constexpr (D == 2) {
    return good;
  } else {
    const V l2 = c[2] / c[0], l21 = (c[4] - l2 * c[1]) * c[0] / minor;
    return good & (c[5] - l2 * c[2] - l21 * (c[4] - l2 * c[1]) > V{});
  }
}

// a = W^T S W for a lower triangular W (by rows) and a packed S. T may be a vector of lanes, each of them a matrix.
template <typename T, int D>
GMCN_HD void congruence(const T* w, const T* s, T* a) {
  T sw[D][D];
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = 0; j < D; ++j) {
      sw[i][j] = T{};
      GMCN_UNROLL
      for (int k = j; k < D; ++k) sw[i][j] += s[packed<D>(i, k)] * w[k * (k + 1) / 2 + j];
    }
  }
  GMCN_UNROLL
  for (int i = 0; i < D; ++i) {
    GMCN_UNROLL
    for (int j = i; j < D; ++j) {
      T sum = {};
      GMCN_UNROLL
      for (int k = i; k < D; ++k) sum += w[k * (k + 1) / 2 + i] * sw[k][j];
      a[packed<D>(i, j)] = sum;
    }
  }
}

}  // namespace gmcn
