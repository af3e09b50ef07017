// pairs.h for the instruction set of this machine, chosen once per process.
#include "pairs.h"

#include "../common/cpu_path.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <typename T, int D, int W> PairKernels<T, D, W> kernels();)

template <typename T, int D, int W>
const PairKernels<T, D, W>& pair_kernels() {
  static const PairKernels<T, D, W> chosen = GMCN_ON_THIS_PATH(kernels<T, D, W>());
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
