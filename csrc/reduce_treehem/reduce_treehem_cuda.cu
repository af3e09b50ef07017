// reduce_treehem on CUDA.
#include "launch_reduction.cuh"
#include "sizes.h"

namespace gmcn {

using treehem::Sizes;

std::tuple<Tensor, Tensor, Tensor> reduce_treehem_cuda(Tensor weights,      // [B, N]
                                                       Tensor positions,    // [B, N, D]
                                                       Tensor covariances,  // [B, N, D, D]
                                                       std::int64_t n, std::int64_t t, double kl_threshold,
                                                       double virtual_samples) {
  const Sizes s = treehem::check(weights, positions, covariances, n, t);
  make_contiguous({&weights, &positions, &covariances});
  Tensor w = empty_like_of(weights, {s.b, n}), p = empty_like_of(weights, {s.b, n, s.d});
  Tensor c = empty_like_of(weights, {s.b, n, s.d, s.d});
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    run_reduction<false>(ReductionJob<T, D, Stored<T, D>>{stored<T, D>(weights, positions, covariances),
                                                          {},
                                                          rows_of<T, D>(w, p, c),
                                                          {T(kl_threshold), T(virtual_samples)},
                                                          s.b,
                                                          static_cast<std::int32_t>(s.n),
                                                          static_cast<std::int32_t>(n),
                                                          static_cast<int>(t)},
                         weights);
  });
  return {w, p, c};
}

GMCN_REGISTER_CUDA(m) { m.impl("reduce_treehem", TORCH_BOX(&reduce_treehem_cuda)); }

}  // namespace gmcn
