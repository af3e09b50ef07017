// convolve_relu_fit in front of every device's code: what it requires and what it returns.
#pragma once

#include "../relu_fit/operation.h"

namespace gmcn {

template <typename Backend>
struct ConvolveReluFit {
  // New weights, and the values f and g at the centres, which the gradient needs; all [B, G, N F K].
  static std::tuple<Tensor, Tensor, Tensor> forward(Tensor weights,             // [B, F, N]
                                                    Tensor positions,           // [B, F, N, D]
                                                    Tensor covariances,         // [B, F, N, D, D]
                                                    Tensor kernel_weights,      // [G, F, K]
                                                    Tensor kernel_positions,    // [G, F, K, D]
                                                    Tensor kernel_covariances,  // [G, F, K, D, D]
                                                    double offset, double s0, double s1, double cutoff) {
    const MixtureTensors data(weights, positions, covariances);
    const MixtureTensors kernels(kernel_weights, kernel_positions, kernel_covariances);
    const ConvolvedSizes s = check(data, kernels);
    const Shape shape{s.b, s.g, s.components()};
    Tensor result = zeros_like_of(weights, shape), f = zeros_like_of(weights, shape), g = zeros_like_of(weights, shape);
    dispatch(weights, s.d, [&]<typename T, int D>() {
      if (s.mixtures() * s.components() == 0) return;
      Backend::template forward<T, D>(
          convolved_batch<T, D>(s, data, kernels), FitOptions{offset, s0, s1, cutoff},
          FitRows<T>{result.mutable_data_ptr<T>(), f.mutable_data_ptr<T>(), g.mutable_data_ptr<T>()});
    });
    return {result, f, g};
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> backward(
      Tensor gradient,            // [B, G, N F K], of the new weights
      Tensor weights,             // [B, F, N]
      Tensor positions,           // [B, F, N, D]
      Tensor covariances,         // [B, F, N, D, D]
      Tensor kernel_weights,      // [G, F, K]
      Tensor kernel_positions,    // [G, F, K, D]
      Tensor kernel_covariances,  // [G, F, K, D, D]
      Tensor f,                   // [B, G, N F K]
      Tensor g,                   // [B, G, N F K]
      double offset, double s0, double s1, double cutoff) {
    const MixtureTensors data(weights, positions, covariances);
    const MixtureTensors kernels(kernel_weights, kernel_positions, kernel_covariances);
    const ConvolvedSizes s = check(data, kernels);
    for (const Tensor& tensor : {gradient, f, g}) check_shape(tensor, "gradient, f or g", {s.b, s.g, s.components()});
    make_contiguous({&gradient, &f, &g});
    MixtureTensors of_data(weights, {s.b, s.f, s.n}, s.d), of_kernels(weights, {s.g, s.f, s.k}, s.d);
    dispatch(weights, s.d, [&]<typename T, int D>() {
      if (s.mixtures() * s.components() == 0) return of_data.zero(), of_kernels.zero();
      Backend::template backward<T, D>(
          s, convolved_batch<T, D>(s, data, kernels), FitOptions{offset, s0, s1, cutoff},
          FitRows<const T>{gradient.const_data_ptr<T>(), f.const_data_ptr<T>(), g.const_data_ptr<T>()},
          of_data.rows<T, D>(), of_kernels.rows<T, D>());
    });
    return std::tuple_cat(of_data.tuple(), of_kernels.tuple());
  }

 private:
  static ConvolvedSizes check(const MixtureTensors& data, const MixtureTensors& kernels) {
    const auto s =
        check_convolved(data.positions, data.covariances, kernels.positions, kernels.covariances, "convolve_relu_fit");
    check_shape(data.weights, "weights", {s.b, s.f, s.n});
    check_shape(kernels.weights, "kernel_weights", {s.g, s.f, s.k});
    return s;
  }
};

}  // namespace gmcn
