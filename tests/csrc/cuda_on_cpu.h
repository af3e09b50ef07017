// CUDA kernels on the CPU, for tests on machines without a GPU: blocks run one after another, the threads of a block as
// fibers that hand over at barriers and warp collectives. Slow, deterministic, and strict: a barrier that some threads
// of the block never reach, or a collective whose lanes have ended, stops the program with a sentence.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))

struct Index {
  unsigned x = 0, y = 0, z = 0;
};
inline Index threadIdx, blockIdx, blockDim, gridDim;

namespace gmcn::emulation {

enum class Waiting { no, for_warp, for_block };

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
  bool done = false;
  Waiting waiting = Waiting::no;
  unsigned mask = 0;            // of the lanes that meet
  unsigned turn = 0;            // of the slots: nobody is more than one meeting ahead
  std::uint64_t slots[2] = {};  // what this thread shows the others
};

inline constexpr std::size_t kStack = 128 * 1024;
inline std::vector<Fiber> fibers;
inline std::size_t current;
inline ucontext_t scheduler;
inline std::vector<std::max_align_t> shared;
inline const std::function<void()>* body;

[[noreturn]] inline void stop(const char* sentence) {
  std::fprintf(stderr, "emulated kernel, block %u: %s\n", blockIdx.x, sentence);
  std::abort();
}

inline unsigned char* dynamic_shared() { return reinterpret_cast<unsigned char*>(shared.data()); }

inline void wait(Waiting what, unsigned mask) {
  Fiber& self = fibers[current];
  self.waiting = what, self.mask = mask;
  swapcontext(&self.context, &scheduler);
}

inline void start() {
  (*body)();
  fibers[current].done = true;
  swapcontext(&fibers[current].context, &scheduler);
}

// Lets threads go on that wait for others who have all arrived. Returns whether there were any.
inline bool release() {
  bool any = false;
  const std::size_t n = fibers.size();
  for (std::size_t first = 0; first < n; first += 32)
    for (std::size_t i = first; i < std::min(n, first + 32); ++i) {
      if (fibers[i].done || fibers[i].waiting != Waiting::for_warp) continue;
      const unsigned mask = fibers[i].mask;
      bool all = true;
      for (unsigned lane = 0; lane < 32; ++lane) {
        if (!(mask >> lane & 1)) continue;
        if (first + lane >= n || fibers[first + lane].done) stop("a warp collective names a lane that has ended");
        const Fiber& other = fibers[first + lane];
        all = all && other.waiting == Waiting::for_warp && other.mask == mask;
      }
      for (unsigned lane = 0; all && lane < 32; ++lane)
        if (mask >> lane & 1) fibers[first + lane].waiting = Waiting::no;
      any = any || all;
    }
  if (any) return true;
  for (const Fiber& fiber : fibers)
    if (!fiber.done && fiber.waiting != Waiting::for_block) return false;
  for (Fiber& fiber : fibers) {
    any = any || !fiber.done;
    fiber.waiting = Waiting::no;
    if (fiber.done) fiber.slots[0] = fiber.slots[1] = 0;  // it took no part; one that ends later did
  }
  return any;
}

inline void run_block() {
  for (std::size_t i = 0; i < fibers.size(); ++i) {
    Fiber& fiber = fibers[i];
    if (!fiber.stack) fiber.stack.reset(new char[kStack]);
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStack;
    fiber.context.uc_link = &scheduler;
    fiber.done = false, fiber.waiting = Waiting::no, fiber.turn = 0;
    makecontext(&fiber.context, start, 0);
  }
  // Whatever a kernel reads before it wrote it is not a number.
  std::memset(shared.data(), 0xff, shared.size() * sizeof(std::max_align_t));
  do {
    for (current = 0; current < fibers.size(); ++current)
      if (!fibers[current].done && fibers[current].waiting == Waiting::no) {
        threadIdx.x = static_cast<unsigned>(current);
        swapcontext(&scheduler, &fibers[current].context);
      }
  } while (release());
  for (const Fiber& fiber : fibers)
    if (!fiber.done) stop("threads wait for others that never come");
}

inline void run(std::int64_t grid, int block, std::int64_t shared_bytes, const std::function<void()>& kernel) {
  if (block > 1024) stop("more than 1024 threads");
  body = &kernel;
  fibers.resize(block);
  shared.resize(shared_bytes / sizeof(std::max_align_t) + 1);
  blockDim.x = static_cast<unsigned>(block), gridDim.x = static_cast<unsigned>(grid);
  for (std::int64_t b = 0; b < grid; ++b) {
    blockIdx.x = static_cast<unsigned>(b);
    run_block();
  }
}

// Shows `value` to all who meet here and returns what thread `of(i)` shows.
template <typename T, typename F>
T exchange(Waiting what, unsigned mask, T value, const F& read) {
  static_assert(sizeof(T) <= 8);
  Fiber& self = fibers[current];
  const unsigned turn = self.turn++ & 1;
  std::memcpy(&self.slots[turn], &value, sizeof(T));
  wait(what, mask);
  return read([turn](std::size_t thread) {
    T other;
    std::memcpy(&other, &fibers[thread].slots[turn], sizeof(T));
    return other;
  });
}

template <typename T>
T shuffle(unsigned mask, T value, int from) {
  const std::size_t first = current / 32 * 32;
  return exchange(Waiting::for_warp, mask, value, [&](const auto& of) { return of(first + (from & 31)); });
}

}  // namespace gmcn::emulation

inline void __syncthreads() { gmcn::emulation::wait(gmcn::emulation::Waiting::for_block, 0); }
inline void __syncwarp(unsigned mask = 0xffffffffu) { gmcn::emulation::wait(gmcn::emulation::Waiting::for_warp, mask); }
inline void __threadfence() {}

inline int __syncthreads_or(int predicate) {
  using namespace gmcn::emulation;
  return exchange(Waiting::for_block, 0, predicate, [](const auto& of) {
    int any = 0;
    for (std::size_t i = 0; i < fibers.size(); ++i) any |= of(i) != 0;
    return any;
  });
}

template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int with) {
  return gmcn::emulation::shuffle(mask, value, static_cast<int>(gmcn::emulation::current % 32) ^ with);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, int by) {
  const int lane = static_cast<int>(gmcn::emulation::current % 32);
  return gmcn::emulation::shuffle(mask, value, lane >= by ? lane - by : lane);
}

template <typename T, typename V>
T atomicAdd(T* address, V value) {
  const T old = *address;
  *address += static_cast<T>(value);
  return old;
}
template <typename T>
T atomicCAS(T* address, std::type_identity_t<T> expected, std::type_identity_t<T> value) {
  const T old = *address;
  if (old == expected) *address = value;
  return old;
}
