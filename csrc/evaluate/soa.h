// A mixture and points in the layout of pairs.h.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <new>
#include <vector>

#include "../common/components.h"
#include "../common/morton.h"
#include "../common/radix_tree.h"
#include "pairs.h"

namespace gmcn {

// Memory of unknown content: vectors would fill with zeros what is written next.
template <typename T>
std::unique_ptr<T[]> unfilled(std::int64_t count) {
  return std::unique_ptr<T[]>(new T[count]);
}

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

// Orders points (indices into position(i) -> const T*) along the Morton curve of their box.
template <typename T, int D, typename F>
void sort_by_morton_code(std::vector<std::int32_t>& points, const F& position) {
  if (points.empty()) return;
  T low[D], high[D];
  for (int d = 0; d < D; ++d) low[d] = high[d] = position(points[0])[d];
  for (const std::int32_t i : points)
    for (int d = 0; d < D; ++d) low[d] = std::min(low[d], position(i)[d]), high[d] = std::max(high[d], position(i)[d]);
  std::vector<std::uint32_t> codes(points.size());
  for (std::size_t k = 0; k < points.size(); ++k) codes[k] = morton_code<T, D>(position(points[k]), low, high);
  std::vector<std::int32_t> order, sorted(points.size());
  sort_codes(codes.data(), static_cast<std::int32_t>(points.size()), 30, order);
  for (std::size_t k = 0; k < points.size(); ++k) sorted[k] = points[order[k]];
  points.swap(sorted);
}

// The boxes of pairs.h around groups of points, for leaving out pairs where a Gaussian is below `cutoff` of its peak.
template <typename T, int D>
class Boxes {
 public:
  Boxes(const Arrays<T, D>& x, std::int64_t group, double cutoff)
      : groups_(x.size / group), centres_(groups_), halves_(groups_), near_(groups_ * kNear), counts_(groups_) {
    for (int d = 0; d < D; ++d)
      for (std::int64_t g = 0; g < centres_.size && groups_; ++g) {
        const T* const begin = x.rows[d] + std::min(g, groups_ - 1) * group;
        const auto [low, high] = std::minmax_element(begin, begin + group);
        centres_.rows[d][g] = (*low + *high) / 2;
        // A little larger: the centre is rounded.
        halves_.rows[d][g] = (*high - *low) / 2 + std::abs(centres_.rows[d][g]) * std::numeric_limits<T>::epsilon();
      }
    culling_ = {static_cast<T>(-std::log2(cutoff)), {}, {}, near_.data(), counts_.data()};
    for (int d = 0; d < D; ++d) culling_.centres[d] = centres_.rows[d], culling_.halves[d] = halves_.rows[d];
  }
  const Culling<T, D>* culling() const { return &culling_; }

 private:
  std::int64_t groups_;
  Arrays<T, D> centres_, halves_;
  std::vector<std::int32_t> near_, counts_;
  Culling<T, D> culling_;
};

// Gradient of one component from its sums over points, without its weights', of which there are W.
template <typename T, int D, int W>
inline __attribute__((always_inline)) Gaussian<T, D> component_gradient(const WeightedGaussian<T, D, W>& g,
                                                                        const PairSums<T, D, W>& sums,
                                                                        T* weight_gradients) {
  Gaussian<T, D> result = {};
  T weighted_zeroth = 0;
  for (int w = 0; w < W; ++w) {
    weight_gradients[w] = g.gaussian.scale * sums.zeroth[w];
    weighted_zeroth += g.weights[w] * sums.zeroth[w];
  }
  whitened_vjp<T, D>(g.gaussian.factor, weighted_zeroth, sums.first, sums.second, result.position, result.covariance);
  return result;
}

}  // namespace gmcn
