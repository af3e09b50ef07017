// Responsibilities of a tile of points on the CPU. Tasks are rows, so that results do not depend on the threads.
#include "../common/cpu_path.h"
#include "../common/tensors.h"
#include "shares.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <typename T> ShareKernel<T> share_kernel();)

namespace {

// `logs` become responsibilities times mass; returns their logsumexp before.
Tensor shares(Tensor logs,    // [T, N], contiguous; changed
              Tensor mass) {  // [T]
  STD_TORCH_CHECK(logs.dim() == 2 && logs.is_contiguous(), "shares: expected contiguous logarithms [T, N]");
  const std::int64_t rows = logs.size(0), n = logs.size(1);
  check_shape(mass, "mass", {rows});
  make_contiguous({&mass});
  Tensor found = empty_like_of(mass, {rows});
  dispatch(logs, [&]<typename T>() {
    static const ShareKernel<T> kernel = GMCN_ON_THIS_PATH(share_kernel<T>());
    T *const row = logs.mutable_data_ptr<T>(), *const sum = found.mutable_data_ptr<T>();
    const T* const each = mass.const_data_ptr<T>();
    // Rows that are worth a thread: of so many numbers, about 10 microseconds.
    run_tasks(
        rows, [&](std::int64_t i) { return sum[i] = kernel(row + i * n, n, each[i]), true; }, 1 + 32768 / (n + 1));
  });
  return found;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) { m.impl("shares", TORCH_BOX(&shares)); }

}  // namespace gmcn
