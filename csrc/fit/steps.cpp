// steps.h for the instruction set of this machine, chosen once per process.
#include "steps.h"

#include "../common/cpu_path.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <int D> StepKernels<D> steps();)

template <int D>
const StepKernels<D>& step_kernels() {
  static const StepKernels<D> chosen = GMCN_ON_THIS_PATH(steps<D>());
  return chosen;
}

template const StepKernels<2>& step_kernels();
template const StepKernels<3>& step_kernels();

}  // namespace gmcn
