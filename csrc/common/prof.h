#pragma once
#include <x86intrin.h>

#include <cstdio>
#include <cstdlib>
namespace gmcn {
struct Prof {
  unsigned long long t[16] = {};
  ~Prof() {
    if (getenv("PROF"))
      for (int i = 0; i < 16; ++i)
        if (t[i]) fprintf(stderr, "prof %d %.2f ms\n", i, t[i] / 2.1e6);
  }
};
inline Prof prof;
struct Lap {
  unsigned long long last = __rdtsc();
  void operator()(int i) {
    auto n = __rdtsc();
    prof.t[i] += n - last;
    last = n;
  }
};
}  // namespace gmcn
