// The gradient of reduce_treehem on CUDA, in a file of its own: it compiles for minutes.
#include "launch_reduction.cuh"
#include "sizes.h"

namespace gmcn {

using treehem::Sizes;

std::tuple<Tensor, Tensor, Tensor> reduce_treehem_backward_cuda(Tensor weights_gradient,      // [B, n]
                                                                Tensor positions_gradient,    // [B, n, D]
                                                                Tensor covariances_gradient,  // [B, n, D, D]
                                                                Tensor weights, Tensor positions, Tensor covariances,
                                                                std::int64_t n, std::int64_t t, double kl_threshold,
                                                                double virtual_samples) {
  const Sizes s = treehem::check(weights, positions, covariances, n, t);
  check_shape(weights_gradient, "weights_gradient", {s.b, n});
  check_shape(positions_gradient, "positions_gradient", {s.b, n, s.d});
  check_shape(covariances_gradient, "covariances_gradient", {s.b, n, s.d, s.d});
  make_contiguous({&weights_gradient, &positions_gradient, &covariances_gradient, &weights, &positions, &covariances});
  Tensor w = empty_like_of(weights, {s.b, s.n}), p = empty_like_of(weights, {s.b, s.n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.n, s.d, s.d});
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    run_reduction<true>(
        ReductionJob<T, D, Stored<T, D>>{stored<T, D>(weights, positions, covariances),
                                         stored<T, D>(weights_gradient, positions_gradient, covariances_gradient),
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

GMCN_REGISTER_CUDA(m) { m.impl("reduce_treehem_backward", TORCH_BOX(&reduce_treehem_backward_cuda)); }

}  // namespace gmcn
