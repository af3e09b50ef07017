// lanes.h for the instruction set of this machine, chosen once per process.
#include "lanes.h"

#include <string>

#include "../common/cpu_path.h"

namespace gmcn {

#define GMCN_DECLARE(path)          \
  namespace path {                  \
  template <typename T, int D>      \
  LaneKernels<T, D> lane_kernels(); \
  }
GMCN_DECLARE(avx512)
GMCN_DECLARE(avx2)
GMCN_DECLARE(baseline)
#undef GMCN_DECLARE

template <typename T, int D>
const LaneKernels<T, D>& lane_kernels() {
  static const LaneKernels<T, D> chosen = [] {
#if defined(__x86_64__)
    if (std::string(cpu_path()) == "avx512") return avx512::lane_kernels<T, D>();
    if (std::string(cpu_path()) == "avx2") return avx2::lane_kernels<T, D>();
#endif
    return baseline::lane_kernels<T, D>();
  }();
  return chosen;
}

template const LaneKernels<float, 2>& lane_kernels();
template const LaneKernels<float, 3>& lane_kernels();
template const LaneKernels<double, 2>& lane_kernels();
template const LaneKernels<double, 3>& lane_kernels();

}  // namespace gmcn
