// lanes.h for the instruction set of this machine, chosen once per process.
#include "lanes.h"

#include "../common/cpu_path.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <typename T, int D> LaneKernels<T, D> lane_kernels();)

template <typename T, int D>
const LaneKernels<T, D>& lane_kernels() {
  static const LaneKernels<T, D> chosen = GMCN_ON_THIS_PATH(lane_kernels<T, D>());
  return chosen;
}

template const LaneKernels<float, 2>& lane_kernels();
template const LaneKernels<float, 3>& lane_kernels();
template const LaneKernels<double, 2>& lane_kernels();
template const LaneKernels<double, 3>& lane_kernels();

}  // namespace gmcn
