// What convolve_fit requires of its arguments' shapes, on every device.
#pragma once

#include <limits>

#include "../common/tensors.h"

namespace gmcn::convolving {

struct Sizes {
  std::int64_t b, f, n, g, k, d;
  std::int64_t convolved() const { return n * f * k; }
};

inline Sizes check(const Tensor& weights, const Tensor& positions, const Tensor& covariances,
                   const Tensor& kernel_weights, const Tensor& kernel_positions, const Tensor& kernel_covariances,
                   std::int64_t wanted) {
  STD_TORCH_CHECK(weights.dim() == 3 && kernel_weights.dim() == 3 && positions.dim() == 4,
                  "convolve_fit: expected data [B, F, N] and kernels [G, F, K]");
  const Sizes s{weights.size(0),        weights.size(1),        weights.size(2),
                kernel_weights.size(0), kernel_weights.size(2), positions.size(3)};
  check_shape(positions, "positions", {s.b, s.f, s.n, s.d});
  check_shape(covariances, "covariances", {s.b, s.f, s.n, s.d, s.d});
  check_shape(kernel_weights, "kernel_weights", {s.g, s.f, s.k});
  check_shape(kernel_positions, "kernel_positions", {s.g, s.f, s.k, s.d});
  check_shape(kernel_covariances, "kernel_covariances", {s.g, s.f, s.k, s.d, s.d});
  constexpr std::int64_t most = std::numeric_limits<std::int32_t>::max();  // components are numbered in 32 bits
  STD_TORCH_CHECK(0 < wanted && wanted <= most, "convolve_fit: n must lie in 1 to ", most);
  std::int64_t size = 0;
  require(!__builtin_mul_overflow(s.n, s.f, &size) && !__builtin_mul_overflow(size, s.k, &size) && size <= most,
          "convolve_fit: ", s.n, " x ", s.f, " x ", s.k, " convolved components are more than ", most);
  return s;
}

}  // namespace gmcn::convolving
