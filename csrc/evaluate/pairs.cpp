// pairs.h for the instruction set of this machine, chosen once per process.
#include "pairs.h"

#include <string>

#include "../common/cpu_path.h"

namespace gmcn {

#define GMCN_DECLARE(path)            \
  namespace path {                    \
  template <typename T, int D, int W> \
  PairKernels<T, D, W> kernels();     \
  }
GMCN_DECLARE(avx512)
GMCN_DECLARE(avx2)
GMCN_DECLARE(baseline)
#undef GMCN_DECLARE

template <typename T, int D, int W>
const PairKernels<T, D, W>& pair_kernels() {
  static const PairKernels<T, D, W> chosen = [] {
#if defined(__x86_64__)
    if (std::string(cpu_path()) == "avx512") return avx512::kernels<T, D, W>();
    if (std::string(cpu_path()) == "avx2") return avx2::kernels<T, D, W>();
#endif
    return baseline::kernels<T, D, W>();
  }();
  return chosen;
}

template const PairKernels<float, 2, 1>& pair_kernels();
template const PairKernels<float, 3, 1>& pair_kernels();
template const PairKernels<float, 2, 2>& pair_kernels();
template const PairKernels<float, 3, 2>& pair_kernels();
template const PairKernels<double, 2, 1>& pair_kernels();
template const PairKernels<double, 3, 1>& pair_kernels();
template const PairKernels<double, 2, 2>& pair_kernels();
template const PairKernels<double, 3, 2>& pair_kernels();

}  // namespace gmcn
