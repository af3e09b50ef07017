// What reduce_treehem requires of its arguments' shapes, on every device.
#pragma once

#include "../common/merge.h"
#include "../common/tensors.h"

namespace gmcn::treehem {

struct Sizes {
  std::int64_t b, n, d;
};

inline Sizes check(const Tensor& weights, const Tensor& positions, const Tensor& covariances, std::int64_t wanted,
                   std::int64_t t) {
  STD_TORCH_CHECK(weights.dim() == 2 && positions.dim() == 3,
                  "reduce_treehem: expected weights [B, N] and positions [B, N, D]");
  const Sizes s{weights.size(0), weights.size(1), positions.size(2)};
  check_shape(positions, "positions", {s.b, s.n, s.d});
  check_shape(covariances, "covariances", {s.b, s.n, s.d, s.d});
  STD_TORCH_CHECK(0 < wanted && wanted < s.n, "reduce_treehem: n must be at least 1 and less than N");
  constexpr std::int64_t most = 1 << 27;  // nodes and covariance entries are numbered in 32 bits
  require(s.n <= most, "reduce_treehem: ", s.n, " components are more than ", most);
  STD_TORCH_CHECK(0 < t && t <= kMaxPerNode, "reduce_treehem: t must lie in 1 to ", kMaxPerNode);
  return s;
}

inline void check_values(std::int64_t bad_mixture) {
  require(bad_mixture < 0, "reduce_treehem: mixture ", bad_mixture,
          " (leading dimensions flattened) has a negative weight, a covariance that is not positive definite, "
          "or a value that is not finite");
}

}  // namespace gmcn::treehem
