// steps.h for the instruction set of this machine, chosen once per process.
#include "steps.h"

#include <string>

#include "../common/cpu_path.h"

namespace gmcn {

#define GMCN_DECLARE(path) \
  namespace path {         \
  template <int D>         \
  StepKernels<D> steps();  \
  }
GMCN_DECLARE(avx512)
GMCN_DECLARE(avx2)
GMCN_DECLARE(baseline)
#undef GMCN_DECLARE

template <int D>
const StepKernels<D>& step_kernels() {
  static const StepKernels<D> chosen = [] {
#if defined(__x86_64__)
    if (std::string(cpu_path()) == "avx512") return avx512::steps<D>();
    if (std::string(cpu_path()) == "avx2") return avx2::steps<D>();
#endif
    return baseline::steps<D>();
  }();
  return chosen;
}

template const StepKernels<2>& step_kernels();
template const StepKernels<3>& step_kernels();

}  // namespace gmcn
