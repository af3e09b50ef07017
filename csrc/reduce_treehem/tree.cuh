// The radix tree of csrc/common/radix_tree.h, made by one block: from each leaf upwards, the second child to arrive
// goes on (Apetrei 2014), and a node's parent splits at the neighbouring gap of smaller difference.
#pragma once

#include "../common/block.cuh"

namespace gmcn {

inline constexpr int kMaxHeight = 64;  // differing bits of a key: 30 of the code, 27 of the index

struct BlockTree {
  std::int32_t leaves, root;
  std::int32_t *left, *right;   // [n - 1] of inner node n + g at g
  std::int32_t* by_height;      // [n - 1] gaps g of inner nodes, the lowest nodes first; equal heights in any order
  const std::int32_t* heights;  // [kMaxHeight + 1] where each height begins in by_height

  __device__ bool is_leaf(std::int32_t node) const { return node < leaves; }

  // f(gap) for all inner nodes, a block at a time, children before parents.
  template <typename F>
  __device__ void ascend(const F& f) const {
    for (int h = 1; h < kMaxHeight && heights[h] < leaves - 1; ++h) at_height(h, f);
  }

  template <typename F>
  __device__ void descend(const F& f) const {  // parents before children
    int top = kMaxHeight - 1;
    while (heights[top] == leaves - 1) --top;
    for (; top > 0; --top) at_height(top, f);
  }

 private:
  template <typename F>
  __device__ void at_height(int h, const F& f) const {
    for (std::int32_t i = heights[h] + threadIdx.x; i < heights[h + 1]; i += blockDim.x) f(by_height[i]);
    __syncthreads();
  }
};

// Working space: `far` is where the first child to arrive at a gap leaves the other end of its range, or -1.
__device__ inline void link(BlockTree& tree, const std::uint64_t* keys, std::int32_t* far, std::uint8_t* height) {
  __shared__ std::int32_t root;
  const std::int32_t n = tree.leaves;
  for (std::int32_t gap = threadIdx.x; gap < n - 1; gap += blockDim.x) far[gap] = -1;
  __syncthreads();
  const auto difference = [&](std::int32_t gap) { return keys[gap] ^ keys[gap + 1]; };
  for (std::int32_t leaf = threadIdx.x; leaf < n; leaf += blockDim.x) {
    std::int32_t node = leaf, first = leaf, last = leaf;
    int own_height = 0;
    while (first > 0 || last < n - 1) {
      const bool is_left = first == 0 || (last < n - 1 && difference(last) < difference(first - 1));
      const std::int32_t gap = is_left ? last : first - 1;
      (is_left ? tree.left : tree.right)[gap] = node;
      __threadfence();
      const std::int32_t other = atomicCAS(&far[gap], -1, is_left ? first : last);
      if (other < 0) break;
      __threadfence();
      (is_left ? last : first) = other;
      const std::int32_t sibling = (is_left ? tree.right : tree.left)[gap];
      const int sibling_height = sibling < n ? 0 : height[sibling - n];
      own_height = 1 + (own_height > sibling_height ? own_height : sibling_height);
      height[gap] = static_cast<std::uint8_t>(own_height);
      node = n + gap;
    }
    if (first == 0 && last == n - 1) root = node;
  }
  __syncthreads();
  tree.root = root;
}

// Counting sort of the inner nodes by their heights.
__device__ inline void schedule(BlockTree& tree, const std::uint8_t* height, std::int32_t* by_height) {
  __shared__ std::int32_t begin[kMaxHeight + 1], next[kMaxHeight + 1];
  const std::int32_t inner = tree.leaves - 1;
  for (int h = threadIdx.x; h <= kMaxHeight; h += blockDim.x) next[h] = 0;
  __syncthreads();
  for (std::int32_t gap = threadIdx.x; gap < inner; gap += blockDim.x) atomicAdd(&next[height[gap]], 1);
  __syncthreads();
  if (threadIdx.x == 0) {
    std::int32_t sum = 0;
    for (int h = 0; h <= kMaxHeight; ++h) {
      const std::int32_t count = next[h];
      begin[h] = next[h] = sum, sum += count;
    }
  }
  __syncthreads();
  for (std::int32_t gap = threadIdx.x; gap < inner; gap += blockDim.x)
    by_height[atomicAdd(&next[height[gap]], 1)] = gap;
  __syncthreads();
  tree.by_height = by_height, tree.heights = begin;
}

}  // namespace gmcn
