// The instruction set to use: the widest that this machine has, or the one that the environment variable GMCN_CPU_PATH
// names (for tests).
#pragma once

#include <cstdlib>
#include <stdexcept>
#include <string>

// Declares what is compiled once per instruction set, in the namespaces of all of them.
#define GMCN_ON_EVERY_PATH(...) \
  namespace avx512 {            \
  __VA_ARGS__                   \
  }                             \
  namespace avx2 {              \
  __VA_ARGS__                   \
  }                             \
  namespace baseline {          \
  __VA_ARGS__                   \
  }

// Calls the one for this machine.
#if defined(__x86_64__)
#define GMCN_ON_THIS_PATH(...)                               \
  (std::string(cpu_path()) == "avx512" ? avx512::__VA_ARGS__ \
   : std::string(cpu_path()) == "avx2" ? avx2::__VA_ARGS__   \
                                       : baseline::__VA_ARGS__)
#else
#define GMCN_ON_THIS_PATH(...) baseline::__VA_ARGS__
#endif

namespace gmcn {

inline bool cpu_supports(const std::string& path) {
#if defined(__x86_64__)
  if (path == "avx512")
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512bw");
  if (path == "avx2") return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
#endif
  return path == "baseline";
}

inline const char* cpu_path() {
  static const char* const chosen = [] {
    const char* forced = std::getenv("GMCN_CPU_PATH");
    for (const char* path : {"avx512", "avx2", "baseline"})
      if (cpu_supports(path) && (!forced || std::string(forced) == path)) return path;
    throw std::runtime_error(std::string("GMCN_CPU_PATH=") + forced +
                             " is not a code path of this machine (avx512, avx2, baseline)");
  }();
  return chosen;
}

}  // namespace gmcn
