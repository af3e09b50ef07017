// Cutting a sorted sequence into groups along its radix tree. Host code.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <queue>
#include <utility>
#include <vector>

namespace gmcn {

using Range = std::pair<std::int32_t, std::int32_t>;  // [begin, end) of the sequence

// From the root, the range of largest priority(begin, end) (the first in the list where they tie) is split where the
// highest differing bit of its ascending, distinct keys changes, until there are `wanted`; a single one cannot be
// split.
template <typename F>
void cut(const std::vector<std::uint64_t>& keys, std::int32_t wanted, const F& priority, std::vector<Range>& ranges) {
  ranges.assign(1, {0, static_cast<std::int32_t>(keys.size())});
  std::priority_queue<std::pair<double, std::int32_t>> first;  // priority, -(place in the list)
  const auto offer = [&](std::int32_t place) {
    const auto [begin, end] = ranges[place];
    if (end - begin > 1) first.emplace(priority(begin, end), -place);
  };
  offer(0);
  while (static_cast<std::int32_t>(ranges.size()) < wanted && !first.empty()) {
    const std::int32_t place = -first.top().second;
    first.pop();
    const auto [begin, end] = ranges[place];
    const std::uint64_t bit = std::bit_floor(keys[begin] ^ keys[end - 1]);
    const auto split = static_cast<std::int32_t>(std::partition_point(keys.begin() + begin, keys.begin() + end,
                                                                      [&](std::uint64_t key) { return !(key & bit); }) -
                                                 keys.begin());
    ranges[place] = {begin, split};
    ranges.emplace_back(split, end);
    offer(place);
    offer(static_cast<std::int32_t>(ranges.size()) - 1);
  }
}

}  // namespace gmcn
