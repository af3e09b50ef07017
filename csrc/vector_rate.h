// How many vector operations per second one core can do: what benchmarks call the limit.
#pragma once

#include <chrono>
#include <string>

#include "common/cpu_path.h"

namespace gmcn {

// Single-precision operations, counted per lane, that independent chains of multiply-adds do per second for the given
// time. Where the instruction set has no fused multiply-add, each is two operations.
#define GMCN_CHAINS(name, attributes, constraint, bytes, operations)                            \
  attributes inline double name(double seconds) {                                               \
    typedef float V __attribute__((vector_size(bytes)));                                        \
    constexpr int kChains = 12, kTurns = 10000; /* more chains than latency times ports */      \
    V chains[kChains] = {}, factor = V{} + 0.999f, term = V{} + 0.001f;                         \
    const auto start = std::chrono::steady_clock::now();                                        \
    double turns = 0, passed = 0;                                                               \
    while (passed < seconds) {                                                                  \
      for (int turn = 0; turn < kTurns; ++turn) {                                               \
        for (int k = 0; k < kChains; ++k) {                                                     \
          chains[k] = chains[k] * factor + term;                                                \
          asm volatile("" : "+" constraint(chains[k])); /* each turn is really done */          \
        }                                                                                       \
      }                                                                                         \
      turns += kTurns;                                                                          \
      passed = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(); \
    }                                                                                           \
    return turns * kChains * operations * (bytes / sizeof(float)) / passed;                     \
  }

#if defined(__x86_64__)
GMCN_CHAINS(vector_rate_avx512, __attribute__((target("avx512f,avx2,fma"))), "v", 64, 1)
GMCN_CHAINS(vector_rate_avx2, __attribute__((target("avx2,fma"))), "x", 32, 1)
GMCN_CHAINS(vector_rate_baseline, , "x", 16, 2)
#elif defined(__aarch64__)
GMCN_CHAINS(vector_rate_baseline, , "w", 16, 1)
#else
GMCN_CHAINS(vector_rate_baseline, , "m", 16, 2)
#endif
#undef GMCN_CHAINS

inline double vector_rate(double seconds) {
#if defined(__x86_64__)
  if (std::string(cpu_path()) == "avx512") return vector_rate_avx512(seconds);
  if (std::string(cpu_path()) == "avx2") return vector_rate_avx2(seconds);
#endif
  return vector_rate_baseline(seconds);
}

}  // namespace gmcn
