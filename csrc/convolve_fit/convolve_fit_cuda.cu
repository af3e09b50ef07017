// Fused convolution and fitting on CUDA: one block per output mixture.
#include "../common/convolved.cuh"
#include "kernels.cuh"
#include "sizes.h"

namespace gmcn {

namespace {

using convolving::check;
using convolving::Sizes;

constexpr std::int64_t kMostBlocks = 1 << 30;

std::int64_t at_most(std::int64_t value, std::int64_t limit) { return value < limit ? value : limit; }
std::int64_t at_least_one(std::int64_t value) { return value > 1 ? value : 1; }

template <typename T, int D>
ConvolveFit<T, D> describe(const Convolved<T, D>& source, const Sizes& s, std::int64_t wanted) {
  ConvolveFit<T, D> job{source, s.b * s.g, static_cast<std::int32_t>(s.convolved()), 0, wanted, nullptr, 0};
  job.most = static_cast<std::int32_t>(at_most(wanted, job.count));
  return job;
}

template <typename T, int D>
Stored<T, D> from_row(const Stored<T, D>& all, std::int64_t row) {
  return {all.weights + row, all.positions + row * D, all.covariances + row * D * D, all.n};
}

// Where the blocks work that make the groups of `mixtures` at a time.
struct Place {
  std::int64_t bytes;  // of one block
  bool on_chip;
  std::int64_t blocks;
  Scratch<unsigned char> scratch;

  Place(std::int64_t bytes_each, std::int64_t mixtures, const Tensor& like)
      : bytes(bytes_each),
        on_chip(fits_on_chip(bytes)),
        blocks(at_most(mixtures, on_chip ? kMostBlocks : at_least_one(kWorkingSpace / bytes))),
        scratch(like, on_chip ? 0 : blocks * bytes) {}

  template <typename T, int D>
  void give(ConvolveFit<T, D>& job) const {
    job.space = scratch.data(), job.space_bytes = on_chip ? 0 : bytes;
  }
  std::int64_t shared_bytes() const { return on_chip ? bytes : 0; }
};

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
    auto job = describe<T, D>({stored<T, D>(weights, positions, covariances),
                               stored<T, D>(kernel_weights, kernel_positions, kernel_covariances),
                               static_cast<std::int32_t>(s.f), static_cast<std::int32_t>(s.g)},
                              s, n);
    const Place place(GroupsSpace::bytes(job.count, job.most), job.tasks, weights);
    place.give(job);
    launch(fit_groups<T, D>, place.blocks, kGroupThreads, place.shared_bytes(), device.stream, job,
           rows_of<T, D>(w, p, c));
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
    auto job = describe<T, D>({stored<T, D>(weights, positions, covariances),
                               stored<T, D>(kernel_weights, kernel_positions, kernel_covariances),
                               static_cast<std::int32_t>(s.f), static_cast<std::int32_t>(s.g)},
                              s, n);
    // The batch is divided into parts, which keep each component's group. That depends on shapes alone, and so does the
    // order of all sums.
    const std::int64_t mixture_bytes = job.most * std::int64_t(sizeof(Gaussian<T, D>)) + job.count * std::int64_t(4);
    const std::int64_t part = at_most(s.b, at_least_one(kWorkingSpace / 8 / (s.g * mixture_bytes)));
    const Place place(GroupsSpace::bytes(job.count, job.most), part * s.g, weights);
    place.give(job);
    const Scratch<Gaussian<T, D>> groups(weights, part * s.g * job.most);
    const Scratch<std::int32_t> group(weights, part * s.g * job.count);
    const Convolved<T, D> source = job.source;
    const auto upstream = stored<T, D>(weights_gradient, positions_gradient, covariances_gradient);
    for (std::int64_t b = 0; b < s.b; b += part) {
      const std::int64_t size = at_most(part, s.b - b), row = b * s.f * s.n;
      job.tasks = size * s.g, job.source.data = from_row(source.data, row);
      const MemberGradients<T, D> members{
          job.source, from_row(upstream, b * s.g * n), groups.data(), group.data(), job.count, job.most};
      launch(find_members<T, D>, at_most(place.blocks, job.tasks), kGroupThreads, place.shared_bytes(), device.stream,
             job, members);
      const auto of_data = rows_of<T, D>(w, p, c);
      gather(job.source, size, members, device,
             {of_data.weights + row, of_data.positions + row * D, of_data.covariances + row * D * D},
             rows_of<T, D>(kw, kp, kc), b == 0);
    }
  });
  return {w, p, c, kw, kp, kc};
}

GMCN_REGISTER_CUDA(m) {
  m.impl("convolve_fit", TORCH_BOX(&convolve_fit_cuda));
  m.impl("convolve_fit_backward", TORCH_BOX(&convolve_fit_backward_cuda));
}

}  // namespace gmcn
