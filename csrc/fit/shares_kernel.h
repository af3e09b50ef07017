// The implementation of shares.h for one instruction set. Lanes are components.
#pragma once

#include <cmath>
#include <limits>

#include "../common/simd.h"
#include "shares.h"

namespace gmcn::GMCN_PATH {

// Below e^-kFar of the largest, a share changes no digit of a sum (the cube of the rounding), and its products would be
// numbers without an exponent, which take a hundred times as long.
template <typename T>
inline constexpr T kFar = sizeof(T) == 4 ? T(47) : T(108);

inline __attribute__((always_inline)) Vector<float> exp_below_zero(Vector<float> y) { return exp_of_floats(y); }

inline __attribute__((always_inline)) Vector<double> exp_below_zero(Vector<double> y) {
  constexpr double magic = 6755399441055744.0;  // rounds to an integer
  const Vector<double> n = (y * 1.44269504088896340736 + magic) - magic;
  // ln 2 in two parts; the first has so few bits that its product is exact
  const Vector<double> r = (y - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;
  return exp2<double>(n) * exp2_polynomial(r * 1.44269504088896340736, double());
}

template <typename T>
T shares(T* row, std::int64_t n, T mass) {
  using V = Vector<T>;
  constexpr std::int64_t kL = kLanes<T>;
  const std::int64_t whole = n / kL * kL, rest = n - whole;
  V last = V{} - std::numeric_limits<T>::infinity();
  std::memcpy(&last, row + whole, rest * sizeof(T));
  V top = last;
  for (std::int64_t j = 0; j < whole; j += kL) {
    const V y = load(row + j);
    top = y > top ? y : top;
  }
  T largest = top[0];
  for (std::int64_t lane = 1; lane < kL; ++lane) largest = top[lane] > largest ? top[lane] : largest;
  const auto exponential = [&](V y) __attribute__((always_inline)) {
    y -= largest;
    const auto far = y < -kFar<T>;  // what is not a number is not far
    V e = {};
    if (any(~far)) e = far ? V{} : exp_below_zero(y);
    return e;
  };
  V sum = {};
  for (std::int64_t j = 0; j < whole; j += kL) {
    const V e = exponential(load(row + j));
    store(row + j, e);
    sum += e;
  }
  last = exponential(last);
  const T total = sum_of_lanes<T>(sum + last), scale = mass / total;
  for (std::int64_t j = 0; j < whole; j += kL) store(row + j, load(row + j) * scale);
  last *= scale;
  std::memcpy(row + whole, &last, rest * sizeof(T));
  return largest + std::log(total);
}

template <typename T>
ShareKernel<T> share_kernel() {
  return shares<T>;
}

template ShareKernel<float> share_kernel();
template ShareKernel<double> share_kernel();

}  // namespace gmcn::GMCN_PATH
