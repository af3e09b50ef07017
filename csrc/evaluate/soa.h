// A mixture and points in the layout of pairs.h.
#pragma once

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "pairs.h"

namespace gmcn {

// Arrays of `count` points, one per coordinate, padded as pairs.h wants it.
template <typename T, int K>
struct Arrays {
  explicit Arrays(std::int64_t points) : size(padded(points)), data(new (std::align_val_t(kAlignment)) T[K * size]()) {
    for (int k = 0; k < K; ++k) rows[k] = data.get() + k * size;
  }
  struct Delete {
    void operator()(T* array) const { ::operator delete[](array, std::align_val_t(kAlignment)); }
  };
  std::int64_t size;
  std::unique_ptr<T[], Delete> data;  // zero
  T* rows[K];
};

// Whitens n Gaussians and multiplies their W weights by the normalisation; false where one is not positive definite.
// weight(i, w) gives weight w of component i.
template <typename T, int D, int W, typename F>
bool prepare(std::int64_t n,
             const T* positions,    // [N, D]
             const T* covariances,  // [N, D, D]
             const F& weight, std::vector<WeightedGaussian<T, D, W>>& result) {
  result.resize(n);
  for (std::int64_t i = 0; i < n; ++i) {
    T covariance[kPacked<D>];
    pack<T, D>(covariances + i * D * D, covariance);
    if (!whiten<T, D>(positions + i * D, covariance, result[i].gaussian)) return false;
    for (int w = 0; w < W; ++w) result[i].weights[w] = weight(i, w) * result[i].gaussian.scale;
  }
  return true;
}

// Gradients of one component from its sums over points: weights (times scale), position and full covariance.
template <typename T, int D, int W>
void component_gradients(const WeightedGaussian<T, D, W>& g, const PairSums<T, D, W>& sums,
                         T* weight_gradients,       // [W], written
                         T* position_gradient,      // [D], added to
                         T* covariance_gradient) {  // [D, D], written
  T weighted_zeroth = 0, packed_gradient[kPacked<D>] = {};
  for (int w = 0; w < W; ++w) {
    weight_gradients[w] = g.gaussian.scale * sums.zeroth[w];
    weighted_zeroth += g.weights[w] * sums.zeroth[w];
  }
  whitened_vjp<T, D>(g.gaussian, weighted_zeroth, sums.first, sums.second, position_gradient, packed_gradient);
  unpack<T, D>(packed_gradient, covariance_gradient);
}

}  // namespace gmcn
