// Fused convolution and fitting on CUDA: one block per output mixture.
#include "kernels.cuh"
#include "sizes.h"

namespace gmcn {

namespace {

using convolving::check;
using convolving::Sizes;

// Bytes beyond which blocks take several mixtures in turn, and the backward pass several parts of the batch.
constexpr std::int64_t kScratch = std::int64_t(256) << 20, kMembers = std::int64_t(32) << 20;

std::int64_t at_most(std::int64_t value, std::int64_t limit) { return value < limit ? value : limit; }
std::int64_t at_least_one(std::int64_t value) { return value > 1 ? value : 1; }

struct Launch {
  Tensor scratch;
  std::int64_t blocks, shared_bytes;
};

// Completes the job with working space for `mixtures` at a time.
template <typename T, int D>
Launch prepare(ConvolveFit<T, D>& job, const Sizes& s, std::int64_t wanted, std::int64_t mixtures, const Tensor& like) {
  job.tasks = s.b * s.g, job.wanted = wanted;
  job.count = static_cast<std::int32_t>(s.convolved()),
  job.most = static_cast<std::int32_t>(at_most(wanted, job.count));
  Pieces pieces(nullptr);
  GroupsSpace(pieces, job.count, job.most);
  const bool on_chip = fits_on_chip(pieces.bytes());
  job.space_bytes = on_chip ? 0 : pieces.bytes();
  const std::int64_t blocks = on_chip ? mixtures : at_most(mixtures, at_least_one(kScratch / pieces.bytes()));
  Launch launch{empty_like_of(like, {blocks * job.space_bytes / std::int64_t(sizeof(T))}), blocks,
                on_chip ? pieces.bytes() : 0};
  job.space = reinterpret_cast<unsigned char*>(launch.scratch.template mutable_data_ptr<T>());
  return launch;
}

}  // namespace

std::tuple<Tensor, Tensor, Tensor> convolve_fit_cuda(Tensor weights,             // [B, F, N]
                                                     Tensor positions,           // [B, F, N, D]
                                                     Tensor covariances,         // [B, F, N, D, D]
                                                     Tensor kernel_weights,      // [G, F, K]
                                                     Tensor kernel_positions,    // [G, F, K, D]
                                                     Tensor kernel_covariances,  // [G, F, K, D, D]
                                                     std::int64_t n) {
  const Sizes s = check(weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances, n);
  make_contiguous({&weights, &positions, &covariances, &kernel_weights, &kernel_positions, &kernel_covariances});
  Tensor w = empty_like_of(weights, {s.b, s.g, n}), p = empty_like_of(weights, {s.b, s.g, n, s.d});
  Tensor c = empty_like_of(weights, {s.b, s.g, n, s.d, s.d});
  const OnDevice device(weights);
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    ConvolveFit<T, D> job{};
    job.source = {stored<T, D>(weights, positions, covariances),
                  stored<T, D>(kernel_weights, kernel_positions, kernel_covariances), static_cast<std::int32_t>(s.f),
                  static_cast<std::int32_t>(s.g)};
    const Launch space = prepare(job, s, n, s.b * s.g, weights);
    launch(fit_groups<T, D>, space.blocks, kThreads, space.shared_bytes, device.stream, job, rows_of<T, D>(w, p, c));
  });
  return {w, p, c};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> convolve_fit_backward_cuda(
    Tensor weights_gradient,      // [B, G, n]
    Tensor positions_gradient,    // [B, G, n, D]
    Tensor covariances_gradient,  // [B, G, n, D, D]
    Tensor weights, Tensor positions, Tensor covariances, Tensor kernel_weights, Tensor kernel_positions,
    Tensor kernel_covariances, std::int64_t n) {
  const Sizes s = check(weights, positions, covariances, kernel_weights, kernel_positions, kernel_covariances, n);
  make_contiguous({&weights_gradient, &positions_gradient, &covariances_gradient, &weights, &positions, &covariances,
                   &kernel_weights, &kernel_positions, &kernel_covariances});
  Tensor w = zeros_like_of(weights, {s.b, s.f, s.n}), p = zeros_like_of(weights, {s.b, s.f, s.n, s.d});
  Tensor c = zeros_like_of(weights, {s.b, s.f, s.n, s.d, s.d}), kw = zeros_like_of(weights, {s.g, s.f, s.k});
  Tensor kp = zeros_like_of(weights, {s.g, s.f, s.k, s.d}), kc = zeros_like_of(weights, {s.g, s.f, s.k, s.d, s.d});
  if (s.b * s.g * s.convolved() == 0) return {w, p, c, kw, kp, kc};
  const OnDevice device(weights);
  dispatch(weights, s.d, [&](auto type, auto dimension) {
    using T = decltype(type);
    constexpr int D = dimension;
    ConvolveFit<T, D> job{};
    job.source = {stored<T, D>(weights, positions, covariances),
                  stored<T, D>(kernel_weights, kernel_positions, kernel_covariances), static_cast<std::int32_t>(s.f),
                  static_cast<std::int32_t>(s.g)};
    // What the batch is divided into depends on shapes alone, and so does the order of all sums.
    const std::int64_t groups = at_most(n, s.convolved()), group_bytes = groups * std::int64_t(sizeof(Gaussian<T, D>));
    const std::int64_t part = at_most(
        s.b, at_least_one(kMembers / (s.g * (group_bytes + s.convolved() * std::int64_t(sizeof(std::int32_t))))));
    const Launch space = prepare(job, s, n, part * s.g, weights);
    const Tensor merged = empty_like_of(weights, {part * s.g * group_bytes / std::int64_t(sizeof(T))});
    const Tensor ids = empty_like_of(weights, {part * s.g * s.convolved()});  // 32 bits of each number are used
    Members<T, D> members{};
    members.groups = reinterpret_cast<Gaussian<T, D>*>(merged.mutable_data_ptr<T>());
    members.group = reinterpret_cast<std::int32_t*>(ids.mutable_data_ptr<T>());
    members.upstream = stored<T, D>(weights_gradient, positions_gradient, covariances_gradient);
    for (std::int64_t b = 0; b < s.b; b += part) {
      const std::int64_t end = at_most(b + part, s.b), size = s.f * s.n;
      members.begin = b * s.g, members.end = end * s.g;
      launch(find_members<T, D>, at_most(space.blocks, (end - b) * s.g), kThreads, space.shared_bytes, device.stream,
             job, members);
      launch(data_vjp<T, D>, blocks_for((end - b) * size, kThreads / 32), kThreads, 0, device.stream, job, members,
             b * size, end * size, rows_of<T, D>(w, p, c));
      launch(kernels_vjp<T, D>, s.g * s.f * s.k, kThreads, 0, device.stream, job, members, rows_of<T, D>(kw, kp, kc));
    }
  });
  return {w, p, c, kw, kp, kc};
}

GMCN_REGISTER_CUDA(m) {
  m.impl("convolve_fit", TORCH_BOX(&convolve_fit_cuda));
  m.impl("convolve_fit_backward", TORCH_BOX(&convolve_fit_backward_cuda));
}

}  // namespace gmcn
