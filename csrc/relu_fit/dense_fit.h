// The dense fit of one mixture on the CPU, equations (6) and (7): the mixture with two sets of weights at its own
// centres.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "../common/components.h"
#include "../common/relu_fit.h"
#include "../evaluate/soa.h"

namespace gmcn {

struct DenseFitOptions {
  double offset, s0, s1, cutoff;
};

template <typename T, int D>
class DenseFit {
 public:
  explicit DenseFit(const DenseFitOptions& o) : offset_(T(o.offset)), s0_(T(o.s0)), s1_(T(o.s1)), cutoff_(o.cutoff) {}

  // Takes component(i) for i < n; false where a covariance is not positive definite.
  template <typename F>
  bool read(std::int32_t n, const F& component) {
    weights_.resize(n);
    gaussians_ = unfilled<WeightedGaussian<T, D, 2>>(n);
    const auto rows = unfilled<Gaussian<T, D>>(n);
    std::vector<T> coarse(n);
    for (std::int32_t i = 0; i < n; ++i) {
      rows[i] = component(i);
      weights_[i] = rows[i].weight;
      coarse[i] = coarse_weight(weights_[i], offset_);
      // All other centres keep the weight 0: with offset 0 about half of them, which then cost nothing.
      if (!(coarse[i] <= T(0))) active_.push_back(i);
    }
    const T* const both[] = {weights_.data(), coarse.data()};
    if (!pair_kernels<T, D, 2>().prepare(rows.get(), both, n, gaussians_.get())) return false;
    if (cutoff_ > 0)
      sort_by_morton_code<T, D>(active_, [&](std::int32_t i) { return gaussians_[i].gaussian.position; });
    x_ = Arrays<T, D>(active_.size());
    for (std::int64_t m = 0; m < x_.size; ++m) {  // padding repeats the last centre: another place could overflow
      const std::int32_t i = active_[std::min<std::size_t>(m, active_.size() - 1)];
      for (int d = 0; d < D; ++d) x_.rows[d][m] = gaussians_[i].gaussian.position[d];
    }
    if (cutoff_ > 0) boxes_.emplace(x_, pair_kernels<T, D, 2>().group, cutoff_);
    return true;
  }

  // New weights, and the values f and g at the centres; only those of active centres are written.
  void forward(T* result, T* f, T* g) const {
    Arrays<T, 2> values(active_.size());
    pair_kernels<T, D, 2>().evaluate(gaussians_.get(), weights_.size(), x_.rows, x_.size, culling(), values.rows);
    for (std::size_t m = 0; m < active_.size(); ++m) {
      const std::int32_t i = active_[m];
      f[i] = values.rows[0][m], g[i] = values.rows[1][m];
      result[i] = corrected_weight<T>(coarse_weight(weights_[i], offset_), f[i], g[i], s0_, s1_);
    }
  }

  // Gradients of all components for those of the new weights.
  void backward(const T* upstream, const T* f, const T* g, Gaussian<T, D>* gradient) const {
    Arrays<T, 2> of_values(active_.size());
    Arrays<T, D> of_points(active_.size());
    std::vector<T> of_coarse(active_.size());
    for (std::size_t m = 0; m < active_.size(); ++m) {
      const std::int32_t i = active_[m];
      corrected_weight_vjp<T>(upstream[i], coarse_weight(weights_[i], offset_), f[i], g[i], s0_, s1_, of_coarse[m],
                              of_values.rows[0][m], of_values.rows[1][m]);
    }
    const auto sums = unfilled<PairSums<T, D, 2>>(weights_.size());
    pair_kernels<T, D, 2>().backward(gaussians_.get(), weights_.size(), x_.rows, x_.size, culling(), of_values.rows,
                                     sums.get(), of_points.rows);
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      T both[2];
      gradient[i] = component_gradient<T, D, 2>(gaussians_[i], sums[i], both);
      gradient[i].weight = both[0] + coarse_weight_vjp<T>(both[1], weights_[i]);
    }
    for (std::size_t m = 0; m < active_.size(); ++m) {
      const std::int32_t i = active_[m];
      gradient[i].weight += coarse_weight_vjp<T>(of_coarse[m], weights_[i]);
      for (int d = 0; d < D; ++d) gradient[i].position[d] -= T(kLn2Times2) * of_points.rows[d][m];
    }
  }

 private:
  const Culling<T, D>* culling() const { return boxes_ ? boxes_->culling() : nullptr; }

  T offset_, s0_, s1_;
  double cutoff_;
  std::vector<T> weights_;
  std::unique_ptr<WeightedGaussian<T, D, 2>[]> gaussians_;
  std::vector<std::int32_t> active_;  // centres whose coarse weight is not zero
  Arrays<T, D> x_{0};
  std::optional<Boxes<T, D>> boxes_;  // of the active centres, where far pairs are left out
};

}  // namespace gmcn
