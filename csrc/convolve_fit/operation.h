// convolve_fit in front of every device's code: what it requires and what it returns.
#pragma once

#include <limits>

#include "../common/mixtures.h"

namespace gmcn {

template <typename Backend>
struct ConvolveFit {
  static std::tuple<Tensor, Tensor, Tensor> forward(Tensor weights,             // [B, F, N]
                                                    Tensor positions,           // [B, F, N, D]
                                                    Tensor covariances,         // [B, F, N, D, D]
                                                    Tensor kernel_weights,      // [G, F, K]
                                                    Tensor kernel_positions,    // [G, F, K, D]
                                                    Tensor kernel_covariances,  // [G, F, K, D, D]
                                                    std::int64_t n) {
    const MixtureTensors data(weights, positions, covariances);
    const MixtureTensors kernels(kernel_weights, kernel_positions, kernel_covariances);
    const ConvolvedSizes s = check(data, kernels, n);
    const MixtureTensors result(weights, {s.b, s.g, n}, s.d);
    dispatch(weights, s.d, [&]<typename T, int D>() {
      Backend::template forward<T, D>(s, convolved_batch<T, D>(s, data, kernels), n, result.rows<T, D>());
    });
    return result.tuple();
  }

  static std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> backward(
      Tensor weights_gradient,      // [B, G, n]
      Tensor positions_gradient,    // [B, G, n, D]
      Tensor covariances_gradient,  // [B, G, n, D, D]
      Tensor weights,               // [B, F, N]
      Tensor positions,             // [B, F, N, D]
      Tensor covariances,           // [B, F, N, D, D]
      Tensor kernel_weights,        // [G, F, K]
      Tensor kernel_positions,      // [G, F, K, D]
      Tensor kernel_covariances,    // [G, F, K, D, D]
      std::int64_t n) {
    const MixtureTensors data(weights, positions, covariances);
    const MixtureTensors kernels(kernel_weights, kernel_positions, kernel_covariances);
    const MixtureTensors upstream(weights_gradient, positions_gradient, covariances_gradient);
    const ConvolvedSizes s = check(data, kernels, n);
    upstream.check(Shape{s.b, s.g, n}, s.d, "", "_gradient");
    MixtureTensors of_data(weights, {s.b, s.f, s.n}, s.d), of_kernels(weights, {s.g, s.f, s.k}, s.d);
    dispatch(weights, s.d, [&]<typename T, int D>() {
      if (s.mixtures() * s.components() == 0) return of_data.zero(), of_kernels.zero();
      Backend::template backward<T, D>(s, convolved_batch<T, D>(s, data, kernels), upstream.stored<T, D>(),
                                       of_data.rows<T, D>(), of_kernels.rows<T, D>());
    });
    return std::tuple_cat(of_data.tuple(), of_kernels.tuple());
  }

 private:
  static ConvolvedSizes check(const MixtureTensors& data, const MixtureTensors& kernels, std::int64_t wanted) {
    STD_TORCH_CHECK(data.weights.dim() == 3 && kernels.weights.dim() == 3 && data.positions.dim() == 4,
                    "convolve_fit: expected data [B, F, N] and kernels [G, F, K]");
    const ConvolvedSizes s{data.weights.size(0),    data.weights.size(1),    data.weights.size(2),
                           kernels.weights.size(0), kernels.weights.size(2), data.positions.size(3)};
    data.check(Shape{s.b, s.f, s.n}, s.d);
    kernels.check(Shape{s.g, s.f, s.k}, s.d, "kernel_");
    constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();  // components are numbered in 32 bits
    STD_TORCH_CHECK(0 < wanted && wanted <= most, "convolve_fit: n must lie in 1 to ", most);
    std::int64_t size = 0;
    require(!__builtin_mul_overflow(s.n, s.f, &size) && !__builtin_mul_overflow(size, s.k, &size) && size <= most,
            "convolve_fit: ", s.n, " x ", s.f, " x ", s.k, " convolved components are more than ", most);
    return s;
  }
};

}  // namespace gmcn
