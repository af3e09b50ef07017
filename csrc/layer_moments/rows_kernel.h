// The implementation of rows.h for one instruction set. Lanes are objects.
#pragma once

#include "../common/simd.h"
#include "rows.h"

namespace gmcn::GMCN_PATH {

template <typename T>
struct WholeVector {
  using Value = Vector<T>;
  std::int64_t b;

  inline __attribute__((always_inline)) Value load(const T* row) const { return GMCN_PATH::load(row + b); }
  inline __attribute__((always_inline)) void store(T* row, Value v) const { GMCN_PATH::store(row + b, v); }
};

// The rest of a row; other lanes are zero, and so is their part in every gradient.
template <typename T>
struct PartOfVector {
  using Value = Vector<T>;
  std::int64_t b;
  std::size_t bytes;

  inline __attribute__((always_inline)) Value load(const T* row) const {
    Value v = {};
    std::memcpy(&v, row + b, bytes);
    return v;
  }
  inline __attribute__((always_inline)) void store(T* row, Value v) const { std::memcpy(row + b, &v, bytes); }
};

template <typename T, typename F>
inline __attribute__((always_inline)) void along_row(std::int64_t objects, const F& f) {
  std::int64_t b = 0;
  for (; b + kLanes<T> <= objects; b += kLanes<T>) f(WholeVector<T>{b});
  if (b < objects) f(PartOfVector<T>{b, (objects - b) * sizeof(T)});
}

template <typename T>
void forward(Activation activation, const LayerInput<T>& in, std::int64_t k, const LayerOutput<T>& out) {
  with(activation, [&]<typename S>() { along_row<T>(in.b, [&](const auto& at) { moments<S>(in, k, at, out); }); });
}

template <typename T>
void backward(Activation activation, const LayerInput<T>& in, std::int64_t k, const LayerOutput<const T>& upstream,
              const LayerGradient<T>& gradient) {
  with(activation, [&]<typename S>() {
    Vector<T> of_weight = {};
    along_row<T>(in.b, [&](const auto& at) { of_weight += moments_vjp<S>(in, k, at, upstream, gradient); });
    gradient.weights[k] = sum_of_lanes<T>(of_weight);
  });
}

template <typename T>
RowKernels<T> row_kernels() {
  return {forward<T>, backward<T>};
}

template RowKernels<float> row_kernels();
template RowKernels<double> row_kernels();

}  // namespace gmcn::GMCN_PATH
