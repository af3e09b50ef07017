// Fused convolution and fitting on CUDA: one block per output mixture.
#include "../common/convolved.cuh"
#include "kernels.cuh"
#include "operation.h"

namespace gmcn {

namespace {

constexpr std::int64_t kMostBlocks = 1 << 30;

std::int64_t at_most(std::int64_t value, std::int64_t limit) { return value < limit ? value : limit; }
std::int64_t at_least_one(std::int64_t value) { return value > 1 ? value : 1; }

template <typename T, int D>
GroupsJob<T, D> describe(const Batch<Convolved<T, D>>& mixtures, std::int64_t wanted) {
  GroupsJob<T, D> job{mixtures.source, mixtures.b, static_cast<std::int32_t>(mixtures.n), 0, wanted, nullptr, 0};
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
  void give(GroupsJob<T, D>& job) const {
    job.space = scratch.data(), job.space_bytes = on_chip ? 0 : bytes;
  }
  std::int64_t shared_bytes() const { return on_chip ? bytes : 0; }
};

struct Cuda {
  template <typename T, int D>
  static void forward(const ConvolvedSizes&, const Batch<Convolved<T, D>>& mixtures, std::int64_t n,
                      const Rows<T, D>& result) {
    const OnDevice device(mixtures.like);
    auto job = describe(mixtures, n);
    const Place place(GroupsSpace::bytes(job.count, job.most), job.tasks, mixtures.like);
    place.give(job);
    launch(fit_groups<T, D>, place.blocks, kGroupThreads, place.shared_bytes(), device.stream, job, result);
  }

  template <typename T, int D>
  static void backward(const ConvolvedSizes& s, const Batch<Convolved<T, D>>& mixtures, const Stored<T, D>& upstream,
                       const Rows<T, D>& of_data, const Rows<T, D>& of_kernels) {
    const OnDevice device(mixtures.like);
    auto job = describe(mixtures, upstream.n);
    // The batch is divided into parts, which keep each component's group. That depends on shapes alone, and so does the
    // order of all sums.
    const std::int64_t mixture_bytes = job.most * std::int64_t(sizeof(Gaussian<T, D>)) + job.count * std::int64_t(4);
    const std::int64_t part = at_most(s.b, at_least_one(kWorkingSpace / 8 / (s.g * mixture_bytes)));
    const Place place(GroupsSpace::bytes(job.count, job.most), part * s.g, mixtures.like);
    place.give(job);
    const Scratch<Gaussian<T, D>> groups(mixtures.like, part * s.g * job.most);
    const Scratch<std::int32_t> group(mixtures.like, part * s.g * job.count);
    for (std::int64_t b = 0; b < s.b; b += part) {
      const std::int64_t size = at_most(part, s.b - b), row = b * s.f * s.n;
      job.tasks = size * s.g, job.source.data = from_row(mixtures.source.data, row);
      const MemberGradients<T, D> members{
          job.source, from_row(upstream, b * s.g * upstream.n), groups.data(), group.data(), job.count, job.most};
      launch(find_members<T, D>, at_most(place.blocks, job.tasks), kGroupThreads, place.shared_bytes(), device.stream,
             job, members);
      gather(job.source, size, members, device,
             {of_data.weights + row, of_data.positions + row * D, of_data.covariances + row * D * D}, of_kernels,
             b == 0);
    }
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) {
  m.impl("convolve_fit", TORCH_BOX(&ConvolveFit<Cuda>::forward));
  m.impl("convolve_fit_backward", TORCH_BOX(&ConvolveFit<Cuda>::backward));
}

}  // namespace gmcn
