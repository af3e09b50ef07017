// reduce_treehem on CUDA.
#include "launch_reduction.cuh"

namespace gmcn {

GMCN_REGISTER_CUDA(m) { m.impl("reduce_treehem", TORCH_BOX(&ReduceTreehem<ReductionsOnCuda>::forward)); }

}  // namespace gmcn
