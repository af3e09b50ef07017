// What the threads of one block, or of one warp, do together. Sums are added in a fixed order: results are the same in
// every run.
#pragma once

#include <cstdint>

#include "cuda.h"

namespace gmcn {

// Whether a block can have `bytes` of dynamic shared memory beside the little that kernels declare themselves.
inline bool fits_on_chip(std::int64_t bytes) { return bytes + kDeclaredShared <= max_shared_bytes(); }

inline constexpr unsigned kWholeWarp = 0xffffffffu;

__device__ __forceinline__ int lane() { return static_cast<int>(threadIdx.x % 32); }
__device__ __forceinline__ int warp() { return static_cast<int>(threadIdx.x / 32); }
__device__ __forceinline__ int warps() { return static_cast<int>(blockDim.x / 32); }

// Where a block works: mixture b and the first of its points (or Gaussians) begin.
struct Place {
  std::int64_t b, begin;
};
__device__ __forceinline__ Place place_of_block(std::int64_t count, int per_block) {
  const auto blocks = static_cast<unsigned>((count + per_block - 1) / per_block);  // 32 bits: a quick division
  return {blockIdx.x / blocks, static_cast<std::int64_t>(blockIdx.x % blocks) * per_block};
}

// In every lane, the combination of all lanes' values, or of those of the `Lanes` neighbours that it is one of; combine
// must be commutative.
template <int Lanes = 32, typename V, typename F>
__device__ V warp_reduce(V value, const F& combine) {
  for (int offset = Lanes / 2; offset > 0; offset /= 2)
    value = combine(value, __shfl_xor_sync(kWholeWarp, value, offset));
  return value;
}

template <int Lanes = 32, typename V>
__device__ V warp_sum(V value) {
  return warp_reduce<Lanes>(value, [](V a, V b) { return a + b; });
}

// Room for a value of each warp. One for all the functions below, of all types, since shared memory is scarce.
__device__ inline void* values_of_warps() {
  __shared__ std::uint64_t values[32];
  return values;
}

template <typename V, typename F>
__device__ V block_reduce(V value, const F& combine) {
  V* const partial = static_cast<V*>(values_of_warps());
  value = warp_reduce(value, combine);
  __syncthreads();  // the previous call has been read
  if (lane() == 0) partial[warp()] = value;
  __syncthreads();
  value = partial[0];
  for (int w = 1; w < warps(); ++w) value = combine(value, partial[w]);
  return value;
}

template <typename V>
__device__ V block_sum(V value) {
  return block_reduce(value, [](V a, V b) { return a + b; });
}

// put(i, get(i), get(0) + ... + get(i)) for all i < n.
template <typename V, typename Get, typename Put>
__device__ void block_scan(std::int64_t n, const Get& get, const Put& put) {
  V* const totals = static_cast<V*>(values_of_warps());
  V before = 0;
  __syncthreads();  // the previous call has been read
  for (std::int64_t begin = 0; begin < n; begin += blockDim.x) {
    const std::int64_t i = begin + threadIdx.x;
    const V value = i < n ? get(i) : V(0);
    V sum = value;
    for (int offset = 1; offset < 32; offset *= 2) {
      const V other = __shfl_up_sync(kWholeWarp, sum, offset);
      if (lane() >= offset) sum += other;
    }
    if (lane() == 31) totals[warp()] = sum;
    __syncthreads();
    V until_here = before;
    for (int w = 0; w < warps(); ++w) {
      if (w < warp()) until_here += totals[w];
      before += totals[w];
    }
    if (i < n) put(i, value, until_here + sum);
    __syncthreads();
  }
}

// Ascending bitonic sort in place. Every comparison puts the smaller key first (the first step of a stage mirrors
// instead of reversing the order), so that any n will do: beyond it lie, in thought, the largest keys, which never
// move.
__device__ inline void block_sort(std::uint64_t* keys, std::uint32_t n) {
  const auto step = [&](std::uint32_t reach, std::uint32_t span, bool mirrored) {
    const std::uint32_t pairs = (n + span - 1) / span * reach;
    for (std::uint32_t pair = threadIdx.x; pair < pairs; pair += blockDim.x) {
      const std::uint32_t offset = pair & (reach - 1), begin = (pair - offset) * 2;
      const std::uint32_t a = begin + offset, b = mirrored ? begin + span - 1 - offset : a + reach;
      if (b < n && keys[b] < keys[a]) {
        const std::uint64_t larger = keys[a];
        keys[a] = keys[b], keys[b] = larger;
      }
    }
    // Pairs within 64 keys stay in one warp, which need not wait for the others until wider ones follow.
    span <= 64 ? __syncwarp() : __syncthreads();
  };
  __syncthreads();
  for (std::uint64_t span = 2; span < 2 * std::uint64_t(n); span *= 2) {
    if (span == 128) __syncthreads();
    step(span / 2, span, true);
    for (std::uint32_t reach = span / 4; reach > 0; reach /= 2) step(reach, 2 * reach, false);
    if (span > 64) __syncthreads();
  }
  __syncthreads();
}

}  // namespace gmcn
