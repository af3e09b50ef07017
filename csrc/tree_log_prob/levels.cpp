// levels.h for the instruction set of this machine, chosen once per process.
#include "levels.h"

#include "../common/cpu_path.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <typename T, int D> LevelKernels<T, D> level_kernels();)

template <typename T, int D>
const LevelKernels<T, D>& level_kernels() {
  static const LevelKernels<T, D> chosen = GMCN_ON_THIS_PATH(level_kernels<T, D>());
  return chosen;
}

template const LevelKernels<float, 2>& level_kernels();
template const LevelKernels<float, 3>& level_kernels();
template const LevelKernels<double, 2>& level_kernels();
template const LevelKernels<double, 3>& level_kernels();

}  // namespace gmcn
