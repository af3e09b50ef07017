// The dense fit of one mixture on the CPU, equations (6) and (7): the mixture with two sets of weights at its own
// centres.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "../common/relu_fit.h"
#include "../evaluate/soa.h"
#include "operation.h"

namespace gmcn {

template <typename T, int D>
class DenseFit {
 public:
  explicit DenseFit(const FitOptions& o) : offset_(T(o.offset)), s0_(T(o.s0)), s1_(T(o.s1)), cutoff_(o.cutoff) {}

  // Takes component(i) for i < n; false where a covariance is not positive definite.
  template <typename F>
  bool read(std::int32_t n, const F& component) {
    weights_.resize(n), coarse_.resize(n);
    gaussians_ = unfilled<WeightedGaussian<T, D, 2>>(n);
    const auto rows = unfilled<Gaussian<T, D>>(n);
    for (std::int32_t i = 0; i < n; ++i) {
      rows[i] = component(i);
      weights_[i] = rows[i].weight;
      coarse_[i] = coarse_weight(weights_[i], offset_);
    }
    const T* const both[] = {weights_.data(), coarse_.data()};
    return pair_kernels<T, D, 2>().prepare(rows.get(), both, n, gaussians_.get());
  }

  // New weights, and the values f and g at the centres; only those of active centres are written.
  void forward(T* result, T* f, T* g) const {
    const Centres at(*this, [&](std::int32_t i) { return is_active(i); });
    Arrays<T, 2> values(at.rows.size());
    pair_kernels<T, D, 2>().evaluate(gaussians_.get(), size(), at.x.rows, at.x.size, at.culling(), values.rows);
    for (std::size_t m = 0; m < at.rows.size(); ++m) {
      const std::int32_t i = at.rows[m];
      f[i] = values.rows[0][m], g[i] = values.rows[1][m];
      result[i] = corrected_weight<T>(coarse_[i], f[i], g[i], s0_, s1_);
    }
  }

  // Gradients of all components for those of the new weights.
  void backward(const T* upstream, const T* f, const T* g, Gaussian<T, D>* gradient) const {
    const auto vjp_at = [&](std::int32_t i) {
      return corrected_weight_vjp<T>(upstream[i], coarse_[i], f[i], g[i], s0_, s1_);
    };
    const Centres at(*this, [&](std::int32_t i) { return is_active(i) && !vjp_at(i).is_zero(); });
    Arrays<T, 2> of_values(at.rows.size());
    Arrays<T, D> of_points(at.rows.size());
    std::vector<T> of_coarse(at.rows.size());
    for (std::size_t m = 0; m < at.rows.size(); ++m) {
      const FitGradient<T> vjp = vjp_at(at.rows[m]);
      of_coarse[m] = vjp.of_x, of_values.rows[0][m] = vjp.of_f, of_values.rows[1][m] = vjp.of_g;
    }
    const auto sums = unfilled<PairSums<T, D, 2>>(size());
    pair_kernels<T, D, 2>().backward(gaussians_.get(), size(), at.x.rows, at.x.size, at.culling(), of_values.rows,
                                     sums.get(), of_points.rows);
    for (std::int64_t i = 0; i < size(); ++i) {
      T both[2];
      gradient[i] = component_gradient<T, D, 2>(gaussians_[i], sums[i], both);
      gradient[i].weight = both[0] + coarse_weight_vjp<T>(both[1], weights_[i]);
    }
    for (std::size_t m = 0; m < at.rows.size(); ++m) {
      const std::int32_t i = at.rows[m];
      gradient[i].weight += coarse_weight_vjp<T>(of_coarse[m], weights_[i]);
      for (int d = 0; d < D; ++d) gradient[i].position[d] -= T(kLn2Times2) * of_points.rows[d][m];
    }
  }

 private:
  // Those centres that count.
  struct Centres {
    template <typename F>
    Centres(const DenseFit& fit, const F& counts) : rows(select(fit, counts)), x(rows.size()) {
      for (std::int64_t m = 0; m < x.size; ++m) {  // padding repeats the last centre: another place could overflow
        const std::int32_t i = rows[std::min<std::size_t>(m, rows.size() - 1)];
        for (int d = 0; d < D; ++d) x.rows[d][m] = fit.gaussians_[i].gaussian.position[d];
      }
      if (fit.cutoff_ > 0) boxes.emplace(x, pair_kernels<T, D, 2>().group, fit.cutoff_);
    }
    template <typename F>
    static std::vector<std::int32_t> select(const DenseFit& fit, const F& counts) {
      std::vector<std::int32_t> rows;
      for (std::int32_t i = 0; i < fit.size(); ++i)
        if (counts(i)) rows.push_back(i);
      if (fit.cutoff_ > 0)
        sort_by_morton_code<T, D>(rows, [&](std::int32_t i) { return fit.gaussians_[i].gaussian.position; });
      return rows;
    }
    const Culling<T, D>* culling() const { return boxes ? boxes->culling() : nullptr; }

    std::vector<std::int32_t> rows;  // indices of the components
    Arrays<T, D> x;
    std::optional<Boxes<T, D>> boxes;  // where far pairs are left out
  };

  std::int32_t size() const { return static_cast<std::int32_t>(weights_.size()); }
  // All other centres keep the weight 0: with offset 0 about half of them, which then cost nothing.
  bool is_active(std::int32_t i) const { return !(coarse_[i] <= T(0)); }

  T offset_, s0_, s1_;
  double cutoff_;
  std::vector<T> weights_, coarse_;
  std::unique_ptr<WeightedGaussian<T, D, 2>[]> gaussians_;
};

// One task per mixture.
struct FitsOnCpu {
  template <typename T, int D, typename Source>
  static void forward(const Batch<Source>& mixtures, const FitOptions& options, const FitRows<T>& result) {
    const std::int64_t n = mixtures.n;
    check_positive_definite(run_tasks(mixtures.b, [&](std::int64_t b) {
      DenseFit<T, D> fit(options);
      if (!fit.read(n, [&](std::int32_t i) { return mixtures.source(b, i); })) return false;
      fit.forward(result.weights + b * n, result.f + b * n, result.g + b * n);
      return true;
    }));
  }
};

}  // namespace gmcn
