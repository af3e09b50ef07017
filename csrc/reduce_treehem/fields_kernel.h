// Gaussians in lanes, read and written by fields.
#pragma once

#include "../common/simd.h"
#include "nodes.h"

namespace gmcn::GMCN_PATH {

template <typename T, int D>
inline __attribute__((always_inline)) Gaussian<Vector<T>, D> load(const Fields<T, D>& from, std::int32_t first) {
  Gaussian<Vector<T>, D> g;
  GMCN_UNROLL
  for (int f = 0; f < kFields<T, D>; ++f)
    reinterpret_cast<Vector<T>*>(&g)[f] = load(from.data + f * from.stride + first);
  return g;
}

template <typename T, int D>
inline __attribute__((always_inline)) Gaussian<Vector<T>, D> gather(const Fields<T, D>& from, const std::int32_t* at) {
  Gaussian<Vector<T>, D> g;
  GMCN_UNROLL
  for (int f = 0; f < kFields<T, D>; ++f)
    reinterpret_cast<Vector<T>*>(&g)[f] = gather<T>(from.data + f * from.stride, at);
  return g;
}

template <typename T, int D>
inline __attribute__((always_inline)) void store(const Fields<T, D>& to, std::int32_t first,
                                                 const Gaussian<Vector<T>, D>& g, int lanes) {
  GMCN_UNROLL
  for (int f = 0; f < kFields<T, D>; ++f) {
    const Vector<T>& v = reinterpret_cast<const Vector<T>*>(&g)[f];
    if (lanes >= kLanes<T>)
      store<T>(to.data + f * to.stride + first, v);
    else
      std::memcpy(to.data + f * to.stride + first, &v, lanes * sizeof(T));
  }
}

}  // namespace gmcn::GMCN_PATH
