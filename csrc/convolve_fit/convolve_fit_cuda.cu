// Fused convolution and fitting on CUDA: one block per output mixture.
#include "../common/convolved.cuh"
#include "kernels.cuh"
#include "operation.h"

namespace gmcn {

namespace {

struct Cuda {
  template <typename T, int D>
  static void forward(const ConvolvedSizes&, const Batch<Convolved<T, D>>& mixtures, std::int64_t n,
                      const Rows<T, D>& result) {
    const OnDevice device(mixtures.like);
    FitJob<T, D> job(mixtures, n);
    const GroupsRoom room(job.bytes(), job.tasks, kWorkingSpace, mixtures.like);
    room.give(job);
    launch(fit_groups<T, D>, room.blocks, kGroupThreads, room.shared_bytes, device.stream, job, result);
  }

  template <typename T, int D>
  static void backward(const ConvolvedSizes& s, const Batch<Convolved<T, D>>& mixtures, const Stored<T, D>& upstream,
                       const Rows<T, D>& of_data, const Rows<T, D>& of_kernels) {
    const OnDevice device(mixtures.like);
    FitJob<T, D> job(mixtures, upstream.n);
    // The batch is divided into parts, which keep each component's group. That depends on shapes alone, and so does the
    // order of all sums.
    const std::int64_t mixture_bytes = job.most * std::int64_t(sizeof(Gaussian<T, D>)) + job.count * std::int64_t(4);
    const std::int64_t part = at_most(s.b, at_least_one(kWorkingSpace / 8 / (s.g * mixture_bytes)));
    const GroupsRoom room(job.bytes(), part * s.g, kWorkingSpace, mixtures.like);
    room.give(job);
    const Scratch<Gaussian<T, D>> groups(mixtures.like, part * s.g * job.most);
    const Scratch<std::int32_t> group(mixtures.like, part * s.g * job.count);
    for (std::int64_t b = 0; b < s.b; b += part) {
      const std::int64_t size = at_most(part, s.b - b), row = b * s.f * s.n;
      job.tasks = size * s.g, job.source.data = from_row(mixtures.source.data, row);
      const MemberGradients<T, D> members{
          job.source, from_row(upstream, b * s.g * upstream.n), groups.data(), group.data(), job.count, job.most};
      launch(find_members<T, D>, at_most(room.blocks, job.tasks), kGroupThreads, room.shared_bytes, device.stream, job,
             members);
      gather(job.source, size, members, device, from_row(of_data, row), of_kernels, b == 0);
    }
  }
};

}  // namespace

GMCN_REGISTER_CUDA(m) {
  m.impl("convolve_fit", TORCH_BOX(&ConvolveFit<Cuda>::forward));
  m.impl("convolve_fit_backward", TORCH_BOX(&ConvolveFit<Cuda>::backward));
}

}  // namespace gmcn
