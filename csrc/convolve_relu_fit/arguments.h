// Arguments of convolve_relu_fit, on any device.
#pragma once

#include "../common/convolved.h"

namespace gmcn::convolved_fit {

template <typename T, int D>
Convolved<T, D> source_of(const ConvolvedSizes& s, const Tensor& weights, const Tensor& positions,
                          const Tensor& covariances, const Tensor& kernel_weights, const Tensor& kernel_positions,
                          const Tensor& kernel_covariances) {
  return {stored<T, D>(weights, positions, covariances),
          stored<T, D>(kernel_weights, kernel_positions, kernel_covariances), static_cast<std::int32_t>(s.f),
          static_cast<std::int32_t>(s.g)};
}

inline ConvolvedSizes check(const Tensor& weights, const Tensor& positions, const Tensor& covariances,
                            const Tensor& kernel_weights, const Tensor& kernel_positions,
                            const Tensor& kernel_covariances) {
  const auto s = check_convolved(positions, covariances, kernel_positions, kernel_covariances, "convolve_relu_fit");
  check_shape(weights, "weights", {s.b, s.f, s.n});
  check_shape(kernel_weights, "kernel_weights", {s.g, s.f, s.k});
  return s;
}

}  // namespace gmcn::convolved_fit
