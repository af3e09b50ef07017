// Sorting components along the Morton curve and cutting them into groups along its radix tree. Host code.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <utility>
#include <vector>

namespace gmcn {

struct Range {
  std::int32_t begin, end;  // [begin, end) of a sequence
};

// Sorts keys of a code of 30 bits << 32 | an index, given in the order of their indices. Two passes of radix sort by
// the upper 20 bits of the codes; the few that are equal there are sorted by themselves.
inline void sort_keys(std::vector<std::uint64_t>& keys, std::vector<std::uint64_t>& scratch) {
  if (keys.size() < 96) return std::sort(keys.begin(), keys.end());
  constexpr int kBits = 10, kLow = 42, kHigh = kLow + kBits, kMask = (1 << kBits) - 1;
  std::uint32_t low[kMask + 1] = {}, high[kMask + 1] = {}, low_begin = 0, high_begin = 0;
  for (const std::uint64_t key : keys) ++low[key >> kLow & kMask], ++high[key >> kHigh & kMask];
  for (int i = 0; i <= kMask; ++i) {
    low_begin += std::exchange(low[i], low_begin);
    high_begin += std::exchange(high[i], high_begin);
  }
  scratch.resize(keys.size());
  for (const std::uint64_t key : keys) scratch[low[key >> kLow & kMask]++] = key;
  for (const std::uint64_t key : scratch) keys[high[key >> kHigh & kMask]++] = key;
  for (auto begin = keys.begin(); begin != keys.end();) {
    auto end = begin + 1;
    while (end != keys.end() && *end >> kLow == *begin >> kLow) ++end;
    if (end - begin > 1) std::sort(begin, end);
    begin = end;
  }
}

// From the root, the range of largest priority(begin, end) (the first in the list where they tie) is split where the
// highest differing bit of its ascending, distinct keys changes, until there are `wanted`; a single one cannot be
// split.
template <typename F>
void cut(const std::vector<std::uint64_t>& keys, std::int32_t wanted, const F& priority, std::vector<Range>& ranges) {
  ranges.assign(1, {0, static_cast<std::int32_t>(keys.size())});
  std::vector<std::pair<double, std::int32_t>> heap;  // priority, -(place in the list)
  heap.reserve(std::min<std::size_t>(wanted, keys.size()));
  const auto offer = [&](std::int32_t place) {
    const auto [begin, end] = ranges[place];
    if (end - begin < 2) return;
    heap.emplace_back(priority(begin, end), -place);
    std::push_heap(heap.begin(), heap.end());
  };
  offer(0);
  while (static_cast<std::int32_t>(ranges.size()) < wanted && !heap.empty()) {
    const std::int32_t place = -heap.front().second;
    std::pop_heap(heap.begin(), heap.end());
    heap.pop_back();
    const auto [begin, end] = ranges[place];
    const std::uint64_t bit = std::bit_floor(keys[begin] ^ keys[end - 1]);
    std::int32_t split = begin, length = end - begin;  // the last key without the bit lies in [split, split + length)
    while (length > 1) {
      const std::int32_t half = length / 2;
      split += keys[split + half] & bit ? 0 : half;
      length -= half;
    }
    ranges[place] = {begin, split + 1};
    ranges.push_back({split + 1, end});
    offer(place);
    offer(static_cast<std::int32_t>(ranges.size()) - 1);
  }
}

}  // namespace gmcn
