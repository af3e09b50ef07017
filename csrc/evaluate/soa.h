// A mixture and points in the layout of pairs.h.
#pragma once

#include <algorithm>
#include <memory>
#include <new>
#include <vector>

#include "../common/components.h"
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

// Whitens a Gaussian and multiplies its W weights by the normalisation; false where it is not positive definite.
template <typename T, int D, int W>
bool prepare(const Gaussian<T, D>& g, const T* weights, WeightedGaussian<T, D, W>& result) {
  if (!whiten<T, D>(g.position, g.covariance, result.gaussian)) return false;
  for (int w = 0; w < W; ++w) result.weights[w] = weights[w] * result.gaussian.scale;
  return true;
}

// Gradient of one component from its sums over points, without its weights', of which there are W.
template <typename T, int D, int W>
Gaussian<T, D> component_gradient(const WeightedGaussian<T, D, W>& g, const PairSums<T, D, W>& sums,
                                  T* weight_gradients) {
  Gaussian<T, D> result = {};
  T weighted_zeroth = 0;
  for (int w = 0; w < W; ++w) {
    weight_gradients[w] = g.gaussian.scale * sums.zeroth[w];
    weighted_zeroth += g.weights[w] * sums.zeroth[w];
  }
  whitened_vjp<T, D>(g.gaussian, weighted_zeroth, sums.first, sums.second, result.position, result.covariance);
  return result;
}

}  // namespace gmcn
