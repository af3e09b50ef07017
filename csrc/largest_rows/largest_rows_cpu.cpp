// largest_rows on the CPU. Tasks are sets; results do not depend on the number of threads.
#include <limits>

#include "../common/cpu_path.h"
#include "../common/tensors.h"
#include "largest.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <typename T> const LargestKernels<T>& largest_kernels();)

namespace {

Tensor largest_rows(Tensor x) {  // [B, M, C]
  STD_TORCH_CHECK(x.dim() == 3 && x.numel() > 0, "largest_rows: expected rows [B, M, C]");
  STD_TORCH_CHECK(x.size(1) < std::numeric_limits<std::int32_t>::max(), "largest_rows: too many rows");
  make_contiguous({&x});
  const std::int64_t sets = x.size(0), rows = x.size(1), channels = x.size(2);
  Tensor at = empty_indices_of(x, {sets, channels});
  dispatch(x, [&]<typename T>() {
    static const LargestKernels<T>& kernels = GMCN_ON_THIS_PATH(largest_kernels<T>());
    const T* const from = x.const_data_ptr<T>();
    std::int64_t* const to = at.mutable_data_ptr<std::int64_t>();
    run_tasks(sets, [&](std::int64_t i) {
      kernels.scan(from + i * rows * channels, rows, channels, to + i * channels);
      return true;
    });
  });
  return at;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) { m.impl("largest_rows", TORCH_BOX(&largest_rows)); }

}  // namespace gmcn
