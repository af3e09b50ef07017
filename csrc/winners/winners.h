// The winner of each row of scores, and sums over the rows that each component wins. Raw pointers only, compiled once
// per instruction set (winners_kernel.h) and chosen at run time.
#pragma once

#include <cstdint>

namespace gmcn {

inline constexpr std::int64_t kWinnerTile = 32;  // rows that are smoothed together; every vector divides it

// Numbers that lie side by side in memory.
struct MemoryRun {
  std::int64_t from, length;
};

// Windows on images, by steps in memory; a window is the same runs everywhere.
template <typename T>
struct Windows {
  const T* x;
  std::int64_t rows, columns;                // of windows on an image
  std::int64_t of_image, of_row, of_column;  // steps
  const MemoryRun* runs;
  std::int64_t count, channels;  // of runs, and of all their numbers
};

template <typename T>
struct WinnerKernels {
  // Of up to kWinnerTile rows of n scores: the largest of G s, without a grid of s, and the first component that has
  // it. Where a row has one that is not a number, so is the objective. scratch: [n, kWinnerTile]. Unless that is null,
  // `shares` [rows, n], which may be the scores, are responsibilities, those below `least` as 0.
  void (*best)(const T* scores, std::int64_t rows, std::int64_t n, const T* grid, T* scratch, T* objective,
               std::int64_t* winners, T* shares, T least);
  // Adds the windows `begin` to `end`, times their slopes, to the sums of their winners: of ones [n], of what a window
  // sees [n, channels], and of squares [n, channels] unless that is null. Winners must be below n.
  void (*add)(const Windows<T>& windows, std::int64_t begin, std::int64_t end, const std::int64_t* winners,
              const T* slopes, T* ones, T* sums, T* squares);
};

template <typename T>
const WinnerKernels<T>& winner_kernels();

}  // namespace gmcn
