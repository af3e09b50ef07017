// Vectors of the instruction set that the including file is compiled for: GMCN_PATH names it (avx512, avx2, baseline),
// GMCN_VECTOR_BYTES is its width. Everything lies in a namespace of that name, so that nothing of one path can be
// linked into another. (GMCN_AVX512 is a macro of ours: g++ has read the whole file before a target pragma acts.)
#pragma once

#include <cstdint>
#include <cstring>

#include "elementwise.h"

#if defined(GMCN_AVX512)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"  // g++'s own headers, once they are inlined
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop
#endif

namespace gmcn::GMCN_PATH {

template <typename T>
struct VectorOf;
template <>
struct VectorOf<float> {
  typedef float type __attribute__((vector_size(GMCN_VECTOR_BYTES)));
  typedef std::int32_t bits __attribute__((vector_size(GMCN_VECTOR_BYTES)));
};
template <>
struct VectorOf<double> {
  typedef double type __attribute__((vector_size(GMCN_VECTOR_BYTES)));
  typedef std::int64_t bits __attribute__((vector_size(GMCN_VECTOR_BYTES)));
};

template <typename T>
using Vector = typename VectorOf<T>::type;

template <typename T>
inline constexpr int kLanes = GMCN_VECTOR_BYTES / sizeof(T);

template <typename T>
inline __attribute__((always_inline)) Vector<T> load(const T* address) {
  Vector<T> v;
  std::memcpy(&v, address, sizeof(v));
  return v;
}

template <typename T>
inline __attribute__((always_inline)) void store(T* address, Vector<T> v) {
  std::memcpy(address, &v, sizeof(v));
}

// Lane i is from[index[i]].
template <typename T>
inline __attribute__((always_inline)) Vector<T> gather(const T* from, const std::int32_t* index) {
#if defined(GMCN_AVX512)
  if constexpr (sizeof(T) == 4)
    return (Vector<T>)_mm512_i32gather_ps(_mm512_loadu_si512(index), from, 4);
  else
    return (Vector<T>)_mm512_i32gather_pd(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(index)), from, 8);
#else
  Vector<T> v;
  for (int lane = 0; lane < kLanes<T>; ++lane) v[lane] = from[index[lane]];
  return v;
#endif
}

// Whether a comparison holds in any lane.
template <typename M>
inline __attribute__((always_inline)) bool any(M mask) {
#if defined(GMCN_AVX512)
  return _mm512_test_epi64_mask((__m512i)mask, (__m512i)mask) != 0;
#else
  std::int64_t words[sizeof(M) / 8], found = 0;
  std::memcpy(words, &mask, sizeof(M));
  GMCN_UNROLL
  for (const std::int64_t word : words) found |= word;
  return found != 0;
#endif
}

// By halves: a sum in order would be as many instructions as lanes.
template <typename T>
inline __attribute__((always_inline)) T sum_of_lanes(Vector<T> v) {
  typedef T Quarter __attribute__((vector_size(16)));
  constexpr int kQuarters = sizeof(v) / 16;
  Quarter quarters[kQuarters];
  std::memcpy(quarters, &v, sizeof(v));
  GMCN_UNROLL
  for (int half = kQuarters / 2; half > 0; half /= 2) {
    GMCN_UNROLL
    for (int i = 0; i < half; ++i) quarters[i] += quarters[i + half];
  }
  T sum = 0;
  GMCN_UNROLL
  for (int i = 0; i < static_cast<int>(16 / sizeof(T)); ++i) sum += quarters[0][i];
  return sum;
}

// 2^f for |f| <= 1/2. float: minimax polynomial of degree 5 (Remez, relative error 7.5e-8; the constant is set to one,
// so that the value at a centre is exact). double: Taylor series of degree 13 (relative error below 1e-16).
template <typename V>
inline __attribute__((always_inline)) V exp2_polynomial(V f, float) {
  V p = f * 0.0013276472f + 0.009675541f;
  p = p * f + 0.05550713f;
  p = p * f + 0.2402212f;
  p = p * f + 0.69314694f;
  return p * f + 1.0f;
}

template <typename V>
inline __attribute__((always_inline)) V exp2_polynomial(V f, double) {
  constexpr double c[] = {1.0,
                          0.69314718055994530942,
                          0.24022650695910071233,
                          0.055504108664821579953,
                          0.0096181291076284771620,
                          0.0013333558146428443423,
                          1.5403530393381609954e-4,
                          1.5252733804059840280e-5,
                          1.3215486790144309488e-6,
                          1.0178086009239699728e-7,
                          7.0549116208011233299e-9,
                          4.4455382718708114976e-10,
                          2.5678435993488205142e-11,
                          1.3691488853904128881e-12};
  V p = f * c[13] + c[12];
  for (int i = 11; i >= 0; --i) p = p * f + c[i];
  return p;
}

// 2^y for y <= 0; not-a-number stays not-a-number.
template <typename T>
inline __attribute__((always_inline)) Vector<T> exp2(Vector<T> y) {
#if defined(GMCN_AVX512)
  if constexpr (sizeof(T) == 4) {
    // Seven instructions: y less its floor; a minimax polynomial of degree 5 on [0, 1) (relative error 8.3e-8, exact at
    // 0); scalef takes the floor by itself.
    const Vector<T> f = (Vector<T>)_mm512_reduce_ps((__m512)y, 1);
    Vector<T> p = f * 0.00186713f + 0.00901702f;
    p = p * f + 0.05579992f;
    p = p * f + 0.24016445f;
    p = p * f + 0.69315131f;
    return (Vector<T>)_mm512_scalef_ps((__m512)(p * f + 1.0f), (__m512)y);
  } else {
    const Vector<T> n = (Vector<T>)_mm512_roundscale_pd((__m512d)y, 0);
    return (Vector<T>)_mm512_scalef_pd((__m512d)exp2_polynomial(y - n, T()), (__m512d)n);
  }
#else
  // Adding 1.5 * 2^(mantissa bits) rounds to an integer and leaves it in the low bits, from where it is shifted into
  // the exponent of the polynomial's value. At the lowest argument exponent and polynomial cancel to zero.
  using Bits = typename VectorOf<T>::bits;
  constexpr T magic = sizeof(T) == 4 ? T(12582912.0) : T(6755399441055744.0);
  constexpr T lowest = sizeof(T) == 4 ? T(-127) : T(-1023);
  constexpr int mantissa = sizeof(T) == 4 ? 23 : 52;
  const Vector<T> floor = Vector<T>{} + lowest;
  y = floor > y ? floor : y;
  const Vector<T> shifted = y + magic;
  const Vector<T> p = exp2_polynomial(y - (shifted - magic), T());
  return (Vector<T>)((Bits)p + ((Bits)shifted << mantissa));
#endif
}

// -x x, one instruction where the instruction set has it
template <typename T>
inline __attribute__((always_inline)) Vector<T> minus_square(Vector<T> x) {
#if defined(GMCN_AVX512)
  if constexpr (sizeof(T) == 4)
    return (Vector<T>)_mm512_fnmadd_ps((__m512)x, (__m512)x, _mm512_setzero_ps());
  else
    return (Vector<T>)_mm512_fnmadd_pd((__m512d)x, (__m512d)x, _mm512_setzero_pd());
#else
  return -(x * x);
#endif
}

// Natural logarithm, relative error 1e-7: the exponent, and for the rest 1 + f between the roots of 1/2 and 2 the
// series with a polynomial from f^3 on (fitted to a relative error of 6e-9).
inline __attribute__((always_inline)) Vector<float> log_of_floats(Vector<float> x) {
  using Bits = VectorOf<float>::bits;
  const Bits exponent = ((Bits)x - 0x3f3504f3) >> 23;  // bits of the root of 1/2
  const Vector<float> f = (Vector<float>)((Bits)x - (exponent << 23)) - 1.0f;
  const Vector<float> e = __builtin_convertvector(exponent, Vector<float>);
  Vector<float> p = f * -0.07634430f + 0.12761550f;
  p = p * f - 0.13160194f;
  p = p * f + 0.14201762f;
  p = p * f - 0.16623357f;
  p = p * f + 0.20001227f;
  p = p * f - 0.25000823f;
  p = p * f + 0.33333331f;
  // ln 2 in two parts; the first has so few bits that its product is exact
  const Vector<float> r = (p * f - 0.5f) * (f * f) + e * -2.12194440e-4f + f + e * 0.693359375f;
  const Vector<float> zero = {}, infinite = zero + INFINITY;
  return x > zero ? (x < infinite ? r : x) : (x == zero ? -infinite : zero / zero);
}

// e^y for y <= 0, relative error 3e-7.
inline __attribute__((always_inline)) Vector<float> exp_of_floats(Vector<float> y) {
  constexpr float magic = 12582912.0f;  // rounds, as above
  const Vector<float> n = (y * 1.44269504f + magic) - magic;
  const Vector<float> r = (y - n * 0.693359375f) - n * -2.12194440e-4f;
  return exp2<float>(n) * exp2_polynomial(r * 1.44269504f, float());
}

}  // namespace gmcn::GMCN_PATH

namespace gmcn {

template <>
struct Functions<GMCN_PATH::Vector<float>> {
  using V = GMCN_PATH::Vector<float>;
  static GMCN_HD V log(V x) { return GMCN_PATH::log_of_floats(x); }
  static GMCN_HD V exp(V x) { return GMCN_PATH::exp_of_floats(x); }
  static GMCN_HD V exp2(V x) { return GMCN_PATH::exp2<float>(x); }
};

template <>
struct Functions<GMCN_PATH::Vector<double>> {
  using V = GMCN_PATH::Vector<double>;
  static GMCN_HD V log(V x) {
    for (int lane = 0; lane < GMCN_PATH::kLanes<double>; ++lane) x[lane] = std::log(x[lane]);
    return x;
  }
  static GMCN_HD V exp(V x) {
    for (int lane = 0; lane < GMCN_PATH::kLanes<double>; ++lane) x[lane] = std::exp(x[lane]);
    return x;
  }
  static GMCN_HD V exp2(V x) { return GMCN_PATH::exp2<double>(x); }
};

}  // namespace gmcn
