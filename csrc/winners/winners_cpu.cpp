// What training a mixture's objective takes, on the CPU. Neither results nor blocks depend on the number of threads.
#include <algorithm>
#include <numeric>
#include <optional>
#include <vector>

#include "../common/cpu_path.h"
#include "../common/tensors.h"
#include "winners.h"

namespace gmcn {

GMCN_ON_EVERY_PATH(template <typename T> const WinnerKernels<T>& winner_kernels();)

namespace {

constexpr std::int64_t kBlock = 1024;  // positions whose sums are added up by themselves, so that rounding stays small

// As winners.h has it; responsibilities, where they are wanted, take the place of the scores.
std::tuple<Tensor, Tensor> best_of_rows(const Tensor& scores, std::optional<Tensor> grid, bool shared, double least) {
  STD_TORCH_CHECK(scores.dim() == 2 && scores.size(1) > 0, "best_scores: expected scores [M, K] with K above 0");
  STD_TORCH_CHECK(scores.is_contiguous(), "best_scores: expected contiguous scores");
  const std::int64_t rows = scores.size(0), n = scores.size(1);
  if (grid) {
    check_shape(*grid, "grid", {n, n});
    STD_TORCH_CHECK(grid->scalar_type() == scores.scalar_type(), "best_scores: grid has another dtype than scores");
    make_contiguous({&*grid});
  }
  Tensor objective = empty_like_of(scores, {rows}), winners = empty_indices_of(scores, {rows});
  dispatch(scores, [&]<typename T>() {
    static const WinnerKernels<T>& kernels = GMCN_ON_THIS_PATH(winner_kernels<T>());
    const T *const from = scores.const_data_ptr<T>(), *const smoothing = grid ? grid->const_data_ptr<T>() : nullptr;
    T *const to = objective.mutable_data_ptr<T>(), *const shares = shared ? scores.mutable_data_ptr<T>() : nullptr;
    std::int64_t* const won = winners.mutable_data_ptr<std::int64_t>();
    run_tasks((rows + kBlock - 1) / kBlock, [&](std::int64_t block) {
      std::vector<T> scratch(n * kWinnerTile);
      for (std::int64_t row = block * kBlock; row < std::min(rows, (block + 1) * kBlock); row += kWinnerTile)
        kernels.best(from + row * n, std::min(kWinnerTile, rows - row), n, smoothing, scratch.data(), to + row,
                     won + row, shared ? shares + row * n : nullptr, static_cast<T>(least));
      return true;
    });
  });
  return {objective, winners};
}

std::tuple<Tensor, Tensor> best_scores(Tensor scores,                 // [M, K]
                                       std::optional<Tensor> grid) {  // [K, K]
  make_contiguous({&scores});
  return best_of_rows(scores, grid, false, 0);
}

std::tuple<Tensor, Tensor> best_and_shares(Tensor scores,                               // [M, K], contiguous; changed
                                           std::optional<Tensor> grid, double least) {  // [K, K]
  return best_of_rows(scores, grid, true, least);
}

struct Sizes {
  std::int64_t k, kernel[2], stride[2];
};

// What a window sees in the order of memory: its runs, and the places of their numbers among the channels of an unfold.
struct Sight {
  Sight(const Tensor& x, const Sizes& sizes) {
    std::vector<std::int64_t> offsets;  // by place
    for (std::int64_t channel = 0; channel < x.size(1); ++channel)
      for (std::int64_t row = 0; row < sizes.kernel[0]; ++row)
        for (std::int64_t column = 0; column < sizes.kernel[1]; ++column)
          offsets.push_back(channel * x.stride(1) + row * x.stride(2) + column * x.stride(3));
    places.resize(offsets.size());
    std::iota(places.begin(), places.end(), 0);
    if (!std::is_sorted(offsets.begin(), offsets.end()))
      std::stable_sort(places.begin(), places.end(),
                       [&](std::int64_t a, std::int64_t b) { return offsets[a] < offsets[b]; });
    for (const std::int64_t place : places) {
      if (runs.empty() || runs.back().from + runs.back().length != offsets[place]) runs.push_back({offsets[place], 0});
      ++runs.back().length;
    }
  }
  std::vector<std::int64_t> places;
  std::vector<MemoryRun> runs;
};

// Sums over the positions that each component wins, of slopes, and of slopes times what the window there sees.
std::tuple<Tensor, Tensor, Tensor> sums_by_winner(Tensor x,        // [B, C, H, W], any strides
                                                  Tensor winners,  // [B, H', W']
                                                  Tensor slopes,   // [B, H', W']
                                                  std::int64_t k, std::int64_t kernel_rows, std::int64_t kernel_columns,
                                                  std::int64_t stride_rows, std::int64_t stride_columns, bool squared) {
  const Sizes sizes{k, {kernel_rows, kernel_columns}, {stride_rows, stride_columns}};
  STD_TORCH_CHECK(x.dim() == 4 && winners.dim() == 3 && k > 0, "sums_by_winner: expected x [B, C, H, W]");
  STD_TORCH_CHECK(winners.scalar_type() == torch::headeronly::ScalarType::Long, "sums_by_winner: winners are int64");
  STD_TORCH_CHECK(slopes.scalar_type() == x.scalar_type(), "sums_by_winner: slopes have another dtype than x");
  for (int side = 0; side < 2; ++side)
    STD_TORCH_CHECK(sizes.kernel[side] > 0 && sizes.stride[side] > 0 &&
                        (winners.size(1 + side) - 1) * sizes.stride[side] + sizes.kernel[side] <= x.size(2 + side),
                    "sums_by_winner: the windows do not fit x");
  check_shape(winners, "winners", {x.size(0), winners.size(1), winners.size(2)});
  check_shape(slopes, "slopes", {x.size(0), winners.size(1), winners.size(2)});
  make_contiguous({&winners, &slopes});
  const Sight sight(x, sizes);
  const std::int64_t channels = std::ssize(sight.places), positions = winners.numel();
  Tensor ones = empty_like_of(x, {k}), sums = empty_like_of(x, {k, channels});
  Tensor squares = empty_like_of(x, {squared ? k : 0, channels});
  const std::int64_t* const won = winners.const_data_ptr<std::int64_t>();
  // So many that sums of blocks are an eighth of all that windows see.
  const std::int64_t block = std::max(kBlock, 8 * k), blocks = (positions + block - 1) / block;
  dispatch(x, [&]<typename T>() {
    static const WinnerKernels<T>& kernels = GMCN_ON_THIS_PATH(winner_kernels<T>());
    const Windows<T> windows{x.const_data_ptr<T>(), winners.size(1),           winners.size(2),
                             x.stride(0),           x.stride(2) * stride_rows, x.stride(3) * stride_columns,
                             sight.runs.data(),     std::ssize(sight.runs),    channels};
    const T* const slope = slopes.const_data_ptr<T>();
    const std::int64_t whole = k * channels, size = k + (squared ? 2 : 1) * whole;
    std::vector<std::vector<T>> found(blocks);
    const std::int64_t bad = run_tasks(blocks, [&](std::int64_t i) {
      const std::int64_t begin = i * block, end = std::min(positions, begin + block);
      if (std::any_of(won + begin, won + end, [&](std::int64_t one) { return one < 0 || one >= k; })) return false;
      found[i].resize(size);
      T* const to = found[i].data();
      kernels.add(windows, begin, end, won, slope, to, to + k, squared ? to + k + whole : nullptr);
      return true;
    });
    require(bad < 0, "sums_by_winner: a winner is no number of the ", k, " components");
    T *const to_ones = ones.mutable_data_ptr<T>(), *const to_sums = sums.mutable_data_ptr<T>();
    T* const to_squares = squares.mutable_data_ptr<T>();
    run_tasks(
        k,
        [&](std::int64_t row) {
          for (std::int64_t i = 1; i < blocks; ++i) {
            found[0][row] += found[i][row];
            for (std::int64_t part = k + row * channels; part < size; part += whole)
              for (std::int64_t c = 0; c < channels; ++c) found[0][part + c] += found[i][part + c];
          }
          const auto value = [&](std::int64_t place) { return blocks ? found[0][place] : T(0); };
          to_ones[row] = value(row);
          for (std::int64_t c = 0; c < channels; ++c) {
            const std::int64_t to = row * channels + sight.places[c], from = k + row * channels + c;
            to_sums[to] = value(from);
            if (squared) to_squares[to] = value(from + whole);
          }
          return true;
        },
        1 + 32768 / (1 + channels * (blocks + 1)));
  });
  return {ones, sums, squares};
}

}  // namespace

STABLE_TORCH_LIBRARY_IMPL(gmcn, CPU, m) {
  m.impl("best_scores", TORCH_BOX(&best_scores));
  m.impl("best_and_shares", TORCH_BOX(&best_and_shares));
  m.impl("sums_by_winner", TORCH_BOX(&sums_by_winner));
}

}  // namespace gmcn
