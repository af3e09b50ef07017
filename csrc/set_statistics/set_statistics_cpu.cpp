// set_statistics on the CPU. Tasks are sets; results do not depend on the number of threads.
#include <limits>
#include <tuple>
#include <vector>

#include "../common/cpu_path.h"
#include "../common/tensors.h"
#include "sets.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <typename T> const SetKernels<T>& set_kernels();)

namespace {

// Largest and smallest of each set, mean and variance of all rows, and the rows of the first two.
std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> forward(Tensor x) {  // [B, M, C]
  STD_TORCH_CHECK(x.dim() == 3 && x.numel() > 0, "set_statistics: expected rows [B, M, C]");
  STD_TORCH_CHECK(x.size(1) < std::numeric_limits<std::int32_t>::max(), "set_statistics: too many rows");
  make_contiguous({&x});
  const std::int64_t sets = x.size(0), rows = x.size(1), channels = x.size(2);
  Tensor high = empty_like_of(x, {sets, channels}), low = empty_like_of(x, {sets, channels});
  Tensor mean = empty_like_of(x, {channels}), variance = empty_like_of(x, {channels});
  Tensor at_high = empty_indices_of(x, {sets, channels}), at_low = empty_indices_of(x, {sets, channels});
  dispatch(x, [&]<typename T>() {
    static const SetKernels<T>& kernels = GMCN_ON_THIS_PATH(set_kernels<T>());
    const T* const from = x.const_data_ptr<T>();
    std::vector<T> sums(sets * channels), squares(sets * channels);
    T *const to_high = high.mutable_data_ptr<T>(), *const to_low = low.mutable_data_ptr<T>();
    std::int64_t *const rows_high = at_high.mutable_data_ptr<std::int64_t>(), *const rows_low =
                                                                                  at_low
                                                                                      .mutable_data_ptr<std::int64_t>();
    run_tasks(sets, [&](std::int64_t i) {
      const std::int64_t at = i * channels;
      kernels.scan(from + at * rows, rows, channels,
                   {to_high + at, to_low + at, sums.data() + at, squares.data() + at, rows_high + at, rows_low + at});
      return true;
    });
    T *const to_mean = mean.mutable_data_ptr<T>(), *const to_variance = variance.mutable_data_ptr<T>();
    for (std::int64_t c = 0; c < channels; ++c) {
      double total = 0, spread = 0;
      for (std::int64_t i = 0; i < sets; ++i)
        total += from[i * rows * channels + c] + static_cast<double>(sums[i * channels + c]) / rows;
      const double middle = total / sets;
      for (std::int64_t i = 0; i < sets; ++i) {
        const double sum = sums[i * channels + c], own = sum / rows;
        const double away = from[i * rows * channels + c] + own - middle;
        spread += squares[i * channels + c] - sum * own + rows * away * away;
      }
      to_mean[c] = static_cast<T>(middle);
      to_variance[c] = static_cast<T>(spread < 0 ? 0 : spread / (static_cast<double>(sets) * rows));
    }
  });
  return {high, low, mean, variance, at_high, at_low};
}

Tensor backward(Tensor of_high, Tensor of_low,       // [B, C]
                Tensor of_mean, Tensor of_variance,  // [C]
                Tensor x,                            // [B, M, C]
                Tensor mean,                         // [C]
                Tensor at_high, Tensor at_low) {     // [B, C] int64
  const std::int64_t sets = x.size(0), rows = x.size(1), channels = x.size(2);
  for (const Tensor* one : {&of_high, &of_low, &at_high, &at_low})
    check_shape(*one, "set_statistics", {sets, channels});
  for (const Tensor* one : {&of_mean, &of_variance, &mean}) check_shape(*one, "set_statistics", {channels});
  make_contiguous({&of_high, &of_low, &of_mean, &of_variance, &x, &mean, &at_high, &at_low});
  Tensor gradient = empty_like_of(x, {sets, rows, channels});
  dispatch(x, [&]<typename T>() {
    static const SetKernels<T>& kernels = GMCN_ON_THIS_PATH(set_kernels<T>());
    const double count = static_cast<double>(sets) * rows;
    std::vector<T> level(channels), slope(channels);
    for (std::int64_t c = 0; c < channels; ++c) {
      level[c] = static_cast<T>(of_mean.const_data_ptr<T>()[c] / count);
      slope[c] = static_cast<T>(2 * of_variance.const_data_ptr<T>()[c] / count);
    }
    const T *const from = x.const_data_ptr<T>(), *const middle = mean.const_data_ptr<T>();
    const T *const highs = of_high.const_data_ptr<T>(), *const lows = of_low.const_data_ptr<T>();
    const std::int64_t *const rows_high = at_high.const_data_ptr<std::int64_t>(),
                              *const rows_low = at_low.const_data_ptr<std::int64_t>();
    T* const to = gradient.mutable_data_ptr<T>();
    const std::int64_t bad = run_tasks(sets, [&](std::int64_t i) {
      const std::int64_t at = i * channels;
      T* const own = to + at * rows;
      kernels.spread(from + at * rows, rows, channels, middle, level.data(), slope.data(), own);
      for (std::int64_t c = 0; c < channels; ++c) {
        const std::int64_t high = rows_high[at + c], low = rows_low[at + c];
        if (high < 0 || low < 0 || high >= rows || low >= rows) return false;
        own[high * channels + c] += highs[at + c];
        own[low * channels + c] += lows[at + c];
      }
      return true;
    });
    require(bad < 0, "set_statistics: a row that is kept is none of the ", rows, " rows");
  });
  return gradient;
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("set_statistics", TORCH_BOX(&forward));
  m.impl("set_statistics_backward", TORCH_BOX(&backward));
}

}  // namespace gmcn
