// The kernels of convolve_fit: one block makes the groups of one output mixture. In the backward pass it leaves behind
// which group each component is in, and from that the gradients are gathered.
#pragma once

#include "launch_groups.cuh"

namespace gmcn {

template <typename T, int D>
using FitJob = GroupsJob<T, D, CutByMass>;

template <typename T, int D>
__global__ void __launch_bounds__(kGroupThreads) fit_groups(FitJob<T, D> job, Rows<T, D> result) {
  job.each([&](std::int64_t mixture, const auto& groups) {
    const std::int64_t row = mixture * job.wanted;
    for (std::int32_t i = warp(); i < groups.groups; i += warps()) {
      const Gaussian<T, D> group = groups.moments(groups.space.ranges[i]);
      if (lane() == 0) result.write(row + i, group);
    }
    Gaussian<T, D> empty = {};
    set_identity<T, D>(T(1), empty.covariance);
    for (std::int64_t i = groups.groups + threadIdx.x; i < job.wanted; i += kGroupThreads) result.write(row + i, empty);
  });
}

// The gradient of each convolved component, from that of the group it is in.
template <typename T, int D>
struct MemberGradients {
  Convolved<T, D> source;
  Stored<T, D> upstream;   // [B G, wanted]
  Gaussian<T, D>* groups;  // [B G, most]
  std::int32_t* group;     // [B G, count]
  std::int32_t count, most;

  __device__ Gaussian<T, D> operator()(std::int64_t mixture, std::int32_t component) const {
    const std::int32_t i = group[mixture * count + component];
    return moments_vjp<T, D>(source(mixture, component), groups[mixture * most + i], upstream(mixture, i));
  }
};

template <typename T, int D>
__global__ void __launch_bounds__(kGroupThreads) find_members(FitJob<T, D> job, MemberGradients<T, D> members) {
  job.each([&](std::int64_t mixture, const auto& groups) {
    for (std::int32_t i = warp(); i < groups.groups; i += warps()) {
      const RankedRange range = groups.space.ranges[i];
      const Gaussian<T, D> group = groups.moments(range);
      if (lane() == 0) members.groups[mixture * members.most + i] = group;
      for (std::int64_t k = range.begin + lane(); k < range.end; k += 32)
        members.group[mixture * members.count + groups.component(k)] = i;
    }
  });
}

}  // namespace gmcn
