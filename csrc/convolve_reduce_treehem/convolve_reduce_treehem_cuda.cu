// convolve_reduce_treehem on CUDA. The convolved mixture is read from its factors.
#include "../reduce_treehem/launch_reduction.cuh"
#include "arguments.h"

namespace gmcn {

using convolved_treehem::check;
using convolved_treehem::Source;
using convolved_treehem::source_of;

std::tuple<Tensor, Tensor, Tensor> convolve_reduce_treehem_cuda(Tensor weights,             // [B, G, N F K]
                                                                Tensor positions,           // [B, F, N, D]
                                                                Tensor covariances,         // [B, F, N, D, D]
                                                                Tensor kernel_positions,    // [G, F, K, D]
                                                                Tensor kernel_covariances,  // [G, F, K, D, D]
                                                                std::int64_t n, std::int64_t t, double kl_threshold,
                                                                double virtual_samples) {
  const auto s = check(weights, positions, covariances, kernel_positions, kernel_covariances, n, t);
  make_contiguous({&weights, &positions, &covariances, &kernel_positions, &kernel_covariances});
  const std::int64_t count = s.components();
  Tensor w = empty_like_of(weights, {s.b, s.g, n}), p = empty_like_of(weights, {s.b, s.g, n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.g, n, s.d, s.d});
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    run_reduction<false>(ReductionJob<T, D, Source<T, D>>{source_of<T, D>(s, weights, positions, covariances,
                                                                          kernel_positions, kernel_covariances),
                                                          {},
                                                          rows_of<T, D>(w, p, c),
                                                          {T(kl_threshold), T(virtual_samples)},
                                                          s.mixtures(),
                                                          static_cast<std::int32_t>(count),
                                                          static_cast<std::int32_t>(n),
                                                          static_cast<int>(t)},
                         weights);
  });
  return {w, p, c};
}

GMCN_REGISTER_CUDA(m) { m.impl("convolve_reduce_treehem", TORCH_BOX(&convolve_reduce_treehem_cuda)); }

}  // namespace gmcn
