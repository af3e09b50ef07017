// The heaviest entry of a growing list, by a tournament in groups of 32 that one warp holds: each change costs the
// groups above it only.
#pragma once

#include "block.cuh"

namespace gmcn {

struct Tournament {
  std::int32_t* winners;  // [space(capacity)] of the groups of 32 places, then of 32 groups, and so on
  std::int32_t capacity;  // of the list

  GMCN_HD static std::int64_t space(std::int64_t capacity) {
    std::int64_t sum = 0;
    do sum += capacity = (capacity + 31) / 32;
    while (capacity > 1);
    return sum;
  }

  // After the entry at `place` changed, in a list of `size`: plays again. mass(place) is negative for an entry that is
  // out of the game. Ties go to the smaller place. Returns the heaviest place, or -1 where all are out.
  template <typename V, typename Mass>
  __device__ std::int32_t play(std::int32_t place, std::int32_t size, const Mass& mass) const {
    const std::int32_t* players = nullptr;
    std::int32_t* level = winners;
    std::int32_t level_capacity = capacity, group = place, best;
    do {
      group /= 32;
      const std::int32_t player = group * 32 + lane();
      best = player >= size ? -1 : players ? players[player] : player;
      V most = best < 0 ? V(-1) : mass(best);
      if (!(most >= V(0))) best = -1;
      for (int offset = 16; offset > 0; offset /= 2) {
        const V other_mass = __shfl_xor_sync(kWholeWarp, most, offset);
        const std::int32_t other = __shfl_xor_sync(kWholeWarp, best, offset);
        const bool wins = other_mass > most || (other_mass == most && other < best);
        if (other >= 0 && (best < 0 || wins)) best = other, most = other_mass;
      }
      if (lane() == 0) level[group] = best;
      __syncwarp();
      size = (size + 31) / 32, level_capacity = (level_capacity + 31) / 32;
      players = level, level += level_capacity;
    } while (size > 1);
    return best;
  }

  // The same after the entry at `place` changed and another one was put at the end of the list.
  template <typename V, typename Mass>
  __device__ std::int32_t grow(std::int32_t place, std::int32_t size, const Mass& mass) const {
    const std::int32_t best = play<V>(size - 1, size, mass);  // first: its groups may be new
    return (size - 1) / 32 == place / 32 ? best : play<V>(place, size, mass);
  }
};

}  // namespace gmcn
