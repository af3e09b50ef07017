// Arguments of convolve_reduce_treehem, on any device.
#pragma once

#include "../common/convolved.h"
#include "../common/merge.h"

namespace gmcn::convolved_treehem {

template <typename T, int D>
using Source = Reweighted<T, D, Convolved<T, D>>;

template <typename T, int D>
Source<T, D> source_of(const ConvolvedSizes& s, const Tensor& weights, const Tensor& positions,
                       const Tensor& covariances, const Tensor& kernel_positions, const Tensor& kernel_covariances) {
  return {weights.const_data_ptr<T>(),
          s.components(),
          {{nullptr, positions.const_data_ptr<T>(), covariances.const_data_ptr<T>(), s.n},
           {nullptr, kernel_positions.const_data_ptr<T>(), kernel_covariances.const_data_ptr<T>(), s.k},
           static_cast<std::int32_t>(s.f),
           static_cast<std::int32_t>(s.g)}};
}

inline ConvolvedSizes check(const Tensor& weights, const Tensor& positions, const Tensor& covariances,
                            const Tensor& kernel_positions, const Tensor& kernel_covariances, std::int64_t wanted,
                            std::int64_t t) {
  const auto s = check_convolved(positions, covariances, kernel_positions, kernel_covariances, "reduce_treehem");
  check_shape(weights, "weights", {s.b, s.g, s.components()});
  STD_TORCH_CHECK(0 < wanted && wanted < s.components(), "n must be at least 1 and less than N F K");
  STD_TORCH_CHECK(0 < t && t <= kMaxPerNode, "t must lie in 1 to ", kMaxPerNode);
  return s;
}

}  // namespace gmcn::convolved_treehem
