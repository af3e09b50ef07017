// rows.h for the instruction set of this machine, chosen once per process.
#include "rows.h"

#include "../common/cpu_path.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <typename T> RowKernels<T> row_kernels();)

template <typename T>
const RowKernels<T>& row_kernels() {
  static const RowKernels<T> chosen = GMCN_ON_THIS_PATH(row_kernels<T>());
  return chosen;
}

template const RowKernels<float>& row_kernels();
template const RowKernels<double>& row_kernels();

}  // namespace gmcn
