// nodes.h for the instruction set of this machine, chosen once per process.
#include "nodes.h"

#include "../common/cpu_path.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <typename T, int D> NodeKernels<T, D> node_kernels();)

template <typename T, int D>
const NodeKernels<T, D>& node_kernels() {
  static const NodeKernels<T, D> chosen = GMCN_ON_THIS_PATH(node_kernels<T, D>());
  return chosen;
}

template const NodeKernels<float, 2>& node_kernels();
template const NodeKernels<float, 3>& node_kernels();
template const NodeKernels<double, 2>& node_kernels();
template const NodeKernels<double, 3>& node_kernels();

}  // namespace gmcn
