// The gradient of convolve_reduce_treehem on CUDA, in a file of its own: it compiles for minutes. The gradients of the
// convolved components are stored for as long as it takes to add them up.
#include "../common/convolved.cuh"
#include "../reduce_treehem/launch_reduction.cuh"
#include "arguments.h"

namespace gmcn {

using convolved_treehem::check;
using convolved_treehem::Source;
using convolved_treehem::source_of;

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> convolve_reduce_treehem_backward_cuda(
    Tensor weights_gradient,      // [B, G, n]
    Tensor positions_gradient,    // [B, G, n, D]
    Tensor covariances_gradient,  // [B, G, n, D, D]
    Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_positions, Tensor kernel_covariances,
    std::int64_t n, std::int64_t t, double kl_threshold, double virtual_samples) {
  const auto s = check(weights, positions, covariances, kernel_positions, kernel_covariances, n, t);
  check_shape(weights_gradient, "weights_gradient", {s.b, s.g, n});
  check_shape(positions_gradient, "positions_gradient", {s.b, s.g, n, s.d});
  check_shape(covariances_gradient, "covariances_gradient", {s.b, s.g, n, s.d, s.d});
  make_contiguous({&weights_gradient, &positions_gradient, &covariances_gradient, &weights, &positions, &covariances,
                   &kernel_positions, &kernel_covariances});
  const std::int64_t count = s.components();
  Tensor w = empty_like_of(weights, {s.b, s.g, count}), p = empty_like_of(weights, {s.b, s.f, s.n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.f, s.n, s.d, s.d}), kp = empty_like_of(weights, {s.g, s.f, s.k, s.d});
  Tensor kc = empty_like_of(weights, {s.g, s.f, s.k, s.d, s.d});
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source = source_of<T, D>(s, weights, positions, covariances, kernel_positions, kernel_covariances);
    const GradientRows<T, D> rows(weights, s.mixtures() * count);
    const Rows<T, D> to_write{w.mutable_data_ptr<T>(), rows.positions.data(), rows.covariances.data()};
    run_reduction<true>(
        ReductionJob<T, D, Source<T, D>>{source,
                                         stored<T, D>(weights_gradient, positions_gradient, covariances_gradient),
                                         to_write,
                                         {T(kl_threshold), T(virtual_samples)},
                                         s.mixtures(),
                                         static_cast<std::int32_t>(count),
                                         static_cast<std::int32_t>(n),
                                         static_cast<int>(t)},
        weights);
    const StoredComponentGradients<T, D> gradients{{to_write.weights, to_write.positions, to_write.covariances, count}};
    gather(source.source, s.b, gradients, OnDevice(weights),
           {nullptr, p.mutable_data_ptr<T>(), c.mutable_data_ptr<T>()},
           {nullptr, kp.mutable_data_ptr<T>(), kc.mutable_data_ptr<T>()});
  });
  return {w, p, c, kp, kc};
}

GMCN_REGISTER_CUDA(m) { m.impl("convolve_reduce_treehem_backward", TORCH_BOX(&convolve_reduce_treehem_backward_cuda)); }

}  // namespace gmcn
