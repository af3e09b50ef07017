// convolve_reduce_treehem on CUDA. The convolved mixture is read from its factors.
#include "../reduce_treehem/launch_reduction.cuh"
#include "operation.h"

namespace gmcn {

GMCN_REGISTER_CUDA(m) {
  m.impl("convolve_reduce_treehem", TORCH_BOX(&ConvolveReduceTreehem<ReductionsOnCuda>::forward));
}

}  // namespace gmcn
