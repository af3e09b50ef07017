// How blocks get output mixtures to make groups of, and the room for that: for all operations that cut a convolution.
#pragma once

#include "../common/mixtures.h"
#include "groups.cuh"

namespace gmcn {

inline constexpr int kGroupThreads = 256;
inline constexpr std::int64_t kMostBlocks = 1 << 30;

template <typename T, int D, template <typename, int> typename RuleOf>
struct GroupsJob {
  Convolved<T, D> source;  // [B, F, N] with [G, F, K]
  std::int64_t tasks;      // B G
  std::int32_t count, most;
  std::int64_t wanted;
  unsigned char* space = nullptr;  // [blocks, space_bytes] of global memory
  std::int64_t space_bytes = 0;
  bool on_chip = false;  // what should be near lies in shared memory

  GroupsJob(const Batch<Convolved<T, D>>& mixtures, std::int64_t n)
      : source(mixtures.source),
        tasks(mixtures.b),
        count(static_cast<std::int32_t>(mixtures.n)),
        most(static_cast<std::int32_t>(at_most(n, mixtures.n))),
        wanted(n) {}

  GroupsBytes bytes() const { return GroupsSpace<RuleOf<T, D>>::bytes(count, most); }

  // f(mixture, its groups) for all output mixtures.
  template <typename F>
  __device__ void each(const F& f) const {
    for (std::int64_t mixture = blockIdx.x; mixture < tasks; mixture += gridDim.x) {
      Pieces global(space + blockIdx.x * space_bytes), chip(dynamic_shared());
      const GroupsSpace<RuleOf<T, D>> room(on_chip ? chip : global, global, count, most);
      BlockGroups<T, D, RuleOf> groups{source, mixture, count, most, room};
      groups.build();
      f(mixture, groups);
      __syncthreads();
    }
  }
};

// Where the blocks work that make the groups of `mixtures` at a time: so many that their global memory is at most
// `most_bytes`, or one.
struct GroupsRoom {
  bool on_chip;
  std::int64_t shared_bytes, space_bytes, blocks;  // bytes of one block
  Scratch<unsigned char> scratch;

  GroupsRoom(const GroupsBytes& each, std::int64_t mixtures, std::int64_t most_bytes, const Tensor& like)
      : on_chip(fits_on_chip(each.near)),
        shared_bytes(on_chip ? each.near : 0),
        space_bytes(each.near + each.global - shared_bytes),
        blocks(at_most(mixtures, space_bytes ? at_least_one(most_bytes / space_bytes) : kMostBlocks)),
        scratch(like, blocks * space_bytes) {}

  template <typename Job>
  void give(Job& job) const {
    job.space = scratch.data(), job.space_bytes = space_bytes, job.on_chip = on_chip;
  }
};

}  // namespace gmcn
