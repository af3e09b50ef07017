// The implementation of winners.h for one instruction set.
#pragma once

#include <limits>

#include "../common/simd.h"
#include "../fit/shares_kernel.h"
#include "winners.h"

namespace gmcn::GMCN_PATH {

// Lanes are rows: nothing is summed or compared over lanes, and whole numbers of rows fill them for any n.
template <typename T>
struct Winner {
  Vector<T> best = Vector<T>{} - std::numeric_limits<T>::infinity(), odd = {};
  typename VectorOf<T>::bits index = {};

  inline __attribute__((always_inline)) void see(Vector<T> value, std::int64_t i) {
    const auto better = value > best;
    best = better ? value : best;
    index = better ? typename VectorOf<T>::bits{} + static_cast<decltype(index[0] + 0)>(i) : index;
    odd = value == value ? odd : value;
  }
};

// G s of two vectors of rows, for components four at a time: as many sums as hide what an addition waits.
template <typename T>
inline __attribute__((always_inline)) void smooth(const T* grid, const T* turned, std::int64_t n,
                                                  Winner<T> (&found)[2]) {
  constexpr int kParts = 4;
  for (std::int64_t begin = 0; begin < n; begin += kParts) {
    const T* rows[kParts];
    for (int part = 0; part < kParts; ++part)
      rows[part] = grid + (begin + part < n ? begin + part : n - 1) * n;  // twice: no better
    Vector<T> sums[kParts][2] = {};
    for (std::int64_t j = 0; j < n; ++j) {
      const Vector<T> first = load(turned + j * kWinnerTile), second = load(turned + j * kWinnerTile + kLanes<T>);
      GMCN_UNROLL
      for (int part = 0; part < kParts; ++part) {
        sums[part][0] += first * rows[part][j];
        sums[part][1] += second * rows[part][j];
      }
    }
    GMCN_UNROLL
    for (int part = 0; part < kParts; ++part)
      for (int half = 0; half < 2; ++half) found[half].see(sums[part][half], begin + part);
  }
}

// Responsibilities of a vector of rows, in their place.
template <typename T>
inline __attribute__((always_inline)) void share_out(T* turned, std::int64_t n, T least) {
  Vector<T> top = load(turned), total = {};
  for (std::int64_t j = 1; j < n; ++j) {
    const Vector<T> value = load(turned + j * kWinnerTile);
    top = value > top ? value : top;
  }
  for (std::int64_t j = 0; j < n; ++j) {
    const Vector<T> value = load(turned + j * kWinnerTile) - top, share = exp_below_zero(value);
    store(turned + j * kWinnerTile, value < -kFar<T> ? Vector<T>{} : share);
    total += load(turned + j * kWinnerTile);
  }
  const Vector<T> scale = 1 / total;
  for (std::int64_t j = 0; j < n; ++j) {
    const Vector<T> share = load(turned + j * kWinnerTile) * scale;
    store(turned + j * kWinnerTile, share < least ? Vector<T>{} : share);  // what is not a number stays
  }
}

template <typename T>
void best(const T* scores, std::int64_t rows, std::int64_t n, const T* grid, T* scratch, T* objective,
          std::int64_t* winners, T* shares, T least) {
  for (std::int64_t row = 0; row < kWinnerTile; ++row) {
    const T* const from = scores + (row < rows ? row : rows - 1) * n;
    for (std::int64_t j = 0; j < n; ++j) scratch[j * kWinnerTile + row] = from[j];
  }
  for (std::int64_t begin = 0; begin < rows; begin += 2 * kLanes<T>) {
    Winner<T> found[2];
    if (grid) {
      smooth(grid, scratch + begin, n, found);
    } else {
      for (std::int64_t j = 0; j < n; ++j)
        for (int half = 0; half < 2; ++half)
          found[half].see(load(scratch + j * kWinnerTile + begin + half * kLanes<T>), j);
    }
    for (std::int64_t row = begin; row < rows && row < begin + 2 * kLanes<T>; ++row) {
      const Winner<T>& own = found[(row - begin) / kLanes<T>];
      const std::int64_t lane = (row - begin) % kLanes<T>;
      objective[row] = own.odd[lane] == 0 ? own.best[lane] : own.odd[lane];
      winners[row] = own.index[lane];
    }
  }
  if (!shares) return;
  for (std::int64_t begin = 0; begin < rows; begin += kLanes<T>) share_out(scratch + begin, n, least);
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t j = 0; j < n; ++j) shares[row * n + j] = scratch[j * kWinnerTile + row];
}

template <typename T, bool kSquares>
inline __attribute__((always_inline)) void add_scaled(T slope, const T* x, std::int64_t n, T* sums, T* squares) {
  std::int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) {
    const Vector<T> value = load(x + i), scaled = value * slope;
    store(sums + i, load(sums + i) + scaled);
    if constexpr (kSquares) store(squares + i, load(squares + i) + scaled * value);
  }
  for (; i < n; ++i) {
    const T scaled = x[i] * slope;
    sums[i] += scaled;
    if constexpr (kSquares) squares[i] += scaled * x[i];
  }
}

template <typename T, bool kSquares>
void add_windows(const Windows<T>& windows, std::int64_t begin, std::int64_t end, const std::int64_t* winners,
                 const T* slopes, T* ones, T* sums, T* squares) {
  for (std::int64_t place = begin; place < end; ++place) {
    const std::int64_t row = place / windows.columns, column = place % windows.columns;
    const T* const x = windows.x + row / windows.rows * windows.of_image + row % windows.rows * windows.of_row +
                       column * windows.of_column;
    const std::int64_t to = winners[place] * windows.channels;
    T *sum = sums + to, *square = kSquares ? squares + to : nullptr;
    ones[winners[place]] += slopes[place];
    for (std::int64_t i = 0; i < windows.count; ++i) {
      const MemoryRun run = windows.runs[i];
      add_scaled<T, kSquares>(slopes[place], x + run.from, run.length, sum, square);
      sum += run.length;
      if constexpr (kSquares) square += run.length;
    }
  }
}

template <typename T>
void add(const Windows<T>& windows, std::int64_t begin, std::int64_t end, const std::int64_t* winners, const T* slopes,
         T* ones, T* sums, T* squares) {
  (squares ? add_windows<T, true> : add_windows<T, false>)(windows, begin, end, winners, slopes, ones, sums, squares);
}

template <typename T>
const WinnerKernels<T>& winner_kernels() {
  static constexpr WinnerKernels<T> kernels{best<T>, add<T>};
  return kernels;
}

template const WinnerKernels<float>& winner_kernels();
template const WinnerKernels<double>& winner_kernels();

}  // namespace gmcn::GMCN_PATH
