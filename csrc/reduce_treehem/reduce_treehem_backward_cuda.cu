// The gradient of reduce_treehem on CUDA, in a file of its own: it compiles for minutes.
#include "launch_reduction.cuh"

namespace gmcn {

GMCN_REGISTER_CUDA(m) { m.impl("reduce_treehem_backward", TORCH_BOX(&ReduceTreehem<ReductionsOnCuda>::backward)); }

}  // namespace gmcn
