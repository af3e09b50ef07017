// nodes.h for the instruction set of this machine, chosen once per process.
#include "nodes.h"

#include <string>

#include "../common/cpu_path.h"

namespace gmcn {

#define GMCN_DECLARE(path)          \
  namespace path {                  \
  template <typename T, int D>      \
  NodeKernels<T, D> node_kernels(); \
  }
GMCN_DECLARE(avx512)
GMCN_DECLARE(avx2)
GMCN_DECLARE(baseline)
#undef GMCN_DECLARE

template <typename T, int D>
const NodeKernels<T, D>& node_kernels() {
  static const NodeKernels<T, D> chosen = [] {
#if defined(__x86_64__)
    if (std::string(cpu_path()) == "avx512") return avx512::node_kernels<T, D>();
    if (std::string(cpu_path()) == "avx2") return avx2::node_kernels<T, D>();
#endif
    return baseline::node_kernels<T, D>();
  }();
  return chosen;
}

template const NodeKernels<float, 2>& node_kernels();
template const NodeKernels<float, 3>& node_kernels();
template const NodeKernels<double, 2>& node_kernels();
template const NodeKernels<double, 3>& node_kernels();

}  // namespace gmcn
