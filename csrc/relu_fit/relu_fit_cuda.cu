// relu_fit on CUDA.
#include "dense_fit.cuh"

namespace gmcn {

namespace {

struct FitSizes {
  std::int64_t b, n, d;
};

FitSizes check(const Tensor& weights, const Tensor& positions, const Tensor& covariances) {
  STD_TORCH_CHECK(weights.dim() == 2 && positions.dim() == 3,
                  "relu_fit: expected weights [B, N] and positions [B, N, D]");
  const FitSizes s{weights.size(0), weights.size(1), positions.size(2)};
  check_shape(positions, "positions", {s.b, s.n, s.d});
  check_shape(covariances, "covariances", {s.b, s.n, s.d, s.d});
  check_count(s.n, "relu_fit");
  return s;
}

}  // namespace

// New weights, and the values f and g at the centres (zero where they were not computed). `cutoff` permits to leave
// pairs out; here all are computed.
std::tuple<Tensor, Tensor, Tensor> relu_fit_cuda(Tensor weights,      // [B, N]
                                                 Tensor positions,    // [B, N, D]
                                                 Tensor covariances,  // [B, N, D, D]
                                                 double offset, double s0, double s1, double /*cutoff*/) {
  const FitSizes s = check(weights, positions, covariances);
  make_contiguous({&weights, &positions, &covariances});
  Tensor result = zeros_like_of(weights, {s.b, s.n}), f = zeros_like_of(weights, {s.b, s.n});
  Tensor g = zeros_like_of(weights, {s.b, s.n});
  if (s.b * s.n == 0) return {result, f, g};
  const OnDevice on(weights);
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const BatchedDenseFit<T, D, Stored<T, D>> fit(weights, on, stored<T, D>(weights, positions, covariances), s.b, s.n,
                                                  {T(offset), T(s0), T(s1)});
    fit.forward(result.mutable_data_ptr<T>(), f.mutable_data_ptr<T>(), g.mutable_data_ptr<T>());
  });
  return {result, f, g};
}

std::tuple<Tensor, Tensor, Tensor> relu_fit_backward_cuda(Tensor gradient,  // [B, N], of the new weights
                                                          Tensor weights, Tensor positions, Tensor covariances,
                                                          Tensor f,  // [B, N]
                                                          Tensor g,  // [B, N]
                                                          double offset, double s0, double s1, double /*cutoff*/) {
  const FitSizes s = check(weights, positions, covariances);
  for (const Tensor& tensor : {gradient, f, g}) check_shape(tensor, "gradient, f or g", {s.b, s.n});
  make_contiguous({&gradient, &weights, &positions, &covariances, &f, &g});
  Tensor w = empty_like_of(weights, {s.b, s.n}), p = empty_like_of(weights, {s.b, s.n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.n, s.d, s.d});
  if (s.b * s.n == 0) return {w, p, c};
  const OnDevice on(weights);
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    const BatchedDenseFit<T, D, Stored<T, D>> fit(weights, on, stored<T, D>(weights, positions, covariances), s.b, s.n,
                                                  {T(offset), T(s0), T(s1)});
    fit.backward(gradient.const_data_ptr<T>(), f.const_data_ptr<T>(), g.const_data_ptr<T>(), rows_of<T, D>(w, p, c));
  });
  return {w, p, c};
}

GMCN_REGISTER_CUDA(m) {
  m.impl("relu_fit", TORCH_BOX(&relu_fit_cuda));
  m.impl("relu_fit_backward", TORCH_BOX(&relu_fit_backward_cuda));
}

}  // namespace gmcn
