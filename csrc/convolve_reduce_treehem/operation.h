// convolve_reduce_treehem in front of every device's code: what it requires and what it returns.
#pragma once

#include "../reduce_treehem/operation.h"

namespace gmcn {

// A convolved mixture with weights of its own.
template <typename T, int D>
using ReweightedConvolved = Reweighted<T, D, Convolved<T, D>>;

template <typename Backend>
struct ConvolveReduceTreehem {
  static std::tuple<Tensor, Tensor, Tensor> forward(Tensor weights,             // [B, G, N F K]
                                                    Tensor positions,           // [B, F, N, D]
                                                    Tensor covariances,         // [B, F, N, D, D]
                                                    Tensor kernel_positions,    // [G, F, K, D]
                                                    Tensor kernel_covariances,  // [G, F, K, D, D]
                                                    std::int64_t n, std::int64_t t, double kl_threshold,
                                                    double virtual_samples) {
    const auto s = check(weights, positions, covariances, kernel_positions, kernel_covariances, n, t);
    make_contiguous({&weights, &positions, &covariances, &kernel_positions, &kernel_covariances});
    const MixtureTensors result(weights, {s.b, s.g, n}, s.d);
    dispatch(weights, s.d, [&]<typename T, int D>() {
      Backend::forward(batch<T, D>(s, weights, positions, covariances, kernel_positions, kernel_covariances),
                       TreehemOptions{n, t, kl_threshold, virtual_samples}, result.rows<T, D>());
    });
    return result.tuple();
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> backward(Tensor weights_gradient,      // [B, G, n]
                                                                     Tensor positions_gradient,    // [B, G, n, D]
                                                                     Tensor covariances_gradient,  // [B, G, n, D, D]
                                                                     Tensor weights,               // [B, G, N F K]
                                                                     Tensor positions,             // [B, F, N, D]
                                                                     Tensor covariances,           // [B, F, N, D, D]
                                                                     Tensor kernel_positions,      // [G, F, K, D]
                                                                     Tensor kernel_covariances,    // [G, F, K, D, D]
                                                                     std::int64_t n, std::int64_t t,
                                                                     double kl_threshold, double virtual_samples) {
    const auto s = check(weights, positions, covariances, kernel_positions, kernel_covariances, n, t);
    const MixtureTensors upstream(weights_gradient, positions_gradient, covariances_gradient);
    upstream.check(Shape{s.b, s.g, n}, s.d, "", "_gradient");
    make_contiguous({&weights, &positions, &covariances, &kernel_positions, &kernel_covariances});
    Tensor w = empty_like_of(weights, {s.b, s.g, s.components()}), p = empty_like_of(weights, {s.b, s.f, s.n, s.d});
    Tensor c = empty_like_of(weights, {s.b, s.f, s.n, s.d, s.d}), kp = empty_like_of(weights, {s.g, s.f, s.k, s.d});
    Tensor kc = empty_like_of(weights, {s.g, s.f, s.k, s.d, s.d});
    dispatch(weights, s.d, [&]<typename T, int D>() {
      if (s.mixtures() == 0) {
        for (Tensor* tensor : {&w, &p, &c, &kp, &kc}) torch::stable::zero_(*tensor);
        return;
      }
      Backend::template backward<T, D>(
          s, batch<T, D>(s, weights, positions, covariances, kernel_positions, kernel_covariances),
          TreehemOptions{n, t, kl_threshold, virtual_samples}, upstream.stored<T, D>(), w.mutable_data_ptr<T>(),
          Rows<T, D>{nullptr, p.mutable_data_ptr<T>(), c.mutable_data_ptr<T>()},
          Rows<T, D>{nullptr, kp.mutable_data_ptr<T>(), kc.mutable_data_ptr<T>()});
    });
    return {w, p, c, kp, kc};
  }

 private:
  static ConvolvedSizes check(const Tensor& weights, const Tensor& positions, const Tensor& covariances,
                              const Tensor& kernel_positions, const Tensor& kernel_covariances, std::int64_t wanted,
                              std::int64_t t) {
    const auto s = check_convolved(positions, covariances, kernel_positions, kernel_covariances, "reduce_treehem");
    check_shape(weights, "weights", {s.b, s.g, s.components()});
    STD_TORCH_CHECK(0 < wanted && wanted < s.components(), "n must be at least 1 and less than N F K");
    STD_TORCH_CHECK(0 < t && t <= kMaxPerNode, "t must lie in 1 to ", kMaxPerNode);
    return s;
  }

  template <typename T, int D>
  static Batch<ReweightedConvolved<T, D>> batch(const ConvolvedSizes& s, const Tensor& weights, const Tensor& positions,
                                                const Tensor& covariances, const Tensor& kernel_positions,
                                                const Tensor& kernel_covariances) {
    const Convolved<T, D> source{
        {nullptr, positions.const_data_ptr<T>(), covariances.const_data_ptr<T>(), s.n},
        {nullptr, kernel_positions.const_data_ptr<T>(), kernel_covariances.const_data_ptr<T>(), s.k},
        static_cast<std::int32_t>(s.f),
        static_cast<std::int32_t>(s.g)};
    return {{weights.const_data_ptr<T>(), s.components(), source}, s.mixtures(), s.components(), weights};
  }
};

}  // namespace gmcn
