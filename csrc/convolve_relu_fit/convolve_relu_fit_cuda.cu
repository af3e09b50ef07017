// convolve_relu_fit on CUDA. The convolved mixture is read from its factors; the backward pass stores the gradients of
// its components for as long as it takes to add them up.
#include "../common/convolved.cuh"
#include "../relu_fit/dense_fit.cuh"
#include "arguments.h"

namespace gmcn {

using convolved_fit::check;
using convolved_fit::source_of;

// New weights, and the values f and g at the centres, which the gradient needs; all [B, G, N F K].
std::tuple<Tensor, Tensor, Tensor> convolve_relu_fit_cuda(Tensor weights,             // [B, F, N]
                                                          Tensor positions,           // [B, F, N, D]
                                                          Tensor covariances,         // [B, F, N, D, D]
                                                          Tensor kernel_weights,      // [G, F, K]
                                                          Tensor kernel_positions,    // [G, F, K, D]
                                                          Tensor kernel_covariances,  // [G, F, K, D, D]
                                                          double offset, double s0, double s1, double /*cutoff*/) {
  const auto s = check(weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances);
  make_contiguous({&weights, &positions, &covariances, &kernel_weights, &kernel_positions, &kernel_covariances});
  const std::int64_t count = s.components();
  Tensor result = zeros_like_of(weights, {s.b, s.g, count}), f = zeros_like_of(weights, {s.b, s.g, count});
  Tensor g = zeros_like_of(weights, {s.b, s.g, count});
  if (s.mixtures() * count == 0) return {result, f, g};
  const OnDevice on(weights);
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source =
        source_of<T, D>(s, weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances);
    const BatchedDenseFit<T, D, Convolved<T, D>> fit(weights, on, source, s.mixtures(), count,
                                                     {T(offset), T(s0), T(s1)});
    fit.forward(result.mutable_data_ptr<T>(), f.mutable_data_ptr<T>(), g.mutable_data_ptr<T>());
  });
  return {result, f, g};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> convolve_relu_fit_backward_cuda(
    Tensor gradient,  // [B, G, N F K], of the new weights
    Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_weights, Tensor kernel_positions,
    Tensor kernel_covariances,
    Tensor f,  // [B, G, N F K]
    Tensor g,  // [B, G, N F K]
    double offset, double s0, double s1, double /*cutoff*/) {
  const auto s = check(weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances);
  const std::int64_t count = s.components();
  for (const Tensor& tensor : {gradient, f, g}) check_shape(tensor, "gradient, f or g", {s.b, s.g, count});
  make_contiguous(
      {&gradient, &weights, &positions, &covariances, &kernel_weights, &kernel_positions, &kernel_covariances, &f, &g});
  Tensor w = empty_like_of(weights, {s.b, s.f, s.n}), p = empty_like_of(weights, {s.b, s.f, s.n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.f, s.n, s.d, s.d}), kw = empty_like_of(weights, {s.g, s.f, s.k});
  Tensor kp = empty_like_of(weights, {s.g, s.f, s.k, s.d}), kc = empty_like_of(weights, {s.g, s.f, s.k, s.d, s.d});
  if (s.mixtures() * count == 0) {
    for (Tensor* tensor : {&w, &p, &c, &kw, &kp, &kc}) torch::stable::zero_(*tensor);
    return {w, p, c, kw, kp, kc};
  }
  const OnDevice on(weights);
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const auto source =
        source_of<T, D>(s, weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances);
    const GradientRows<T, D> rows(weights, s.mixtures() * count);
    {
      const BatchedDenseFit<T, D, Convolved<T, D>> fit(weights, on, source, s.mixtures(), count,
                                                       {T(offset), T(s0), T(s1)});
      fit.backward(gradient.const_data_ptr<T>(), f.const_data_ptr<T>(), g.const_data_ptr<T>(), rows.to_write());
    }
    gather(source, s.b, rows.to_read(count), on, rows_of<T, D>(w, p, c), rows_of<T, D>(kw, kp, kc));
  });
  return {w, p, c, kw, kp, kc};
}

GMCN_REGISTER_CUDA(m) {
  m.impl("convolve_relu_fit", TORCH_BOX(&convolve_relu_fit_cuda));
  m.impl("convolve_relu_fit_backward", TORCH_BOX(&convolve_relu_fit_backward_cuda));
}

}  // namespace gmcn
