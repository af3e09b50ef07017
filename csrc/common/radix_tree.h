// The binary radix tree over sorted Morton keys (Lauterbach et al. 2009, Karras 2012): a range of keys is split where
// its highest differing bit changes. Host code; keys are distinct because they hold the component's index.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

namespace gmcn {

// Stable order of `n` values of at most `bits` bits by radix sort, 10 bits a pass; order[k] is the index of the k-th.
inline void sort_codes(const std::uint32_t* codes, std::int32_t n, int bits, std::vector<std::int32_t>& order) {
  order.resize(n);
  for (std::int32_t i = 0; i < n; ++i) order[i] = i;
  if (n < 256) {
    std::sort(order.begin(), order.end(),
              [&](std::int32_t a, std::int32_t b) { return codes[a] != codes[b] ? codes[a] < codes[b] : a < b; });
    return;
  }
  std::vector<std::int32_t> other(n);
  for (int shift = 0; shift < bits; shift += 10) {
    std::int32_t begin[1025] = {};
    for (std::int32_t i = 0; i < n; ++i) ++begin[(codes[i] >> shift & 1023) + 1];
    for (int k = 0; k < 1024; ++k) begin[k + 1] += begin[k];
    for (const std::int32_t i : order) other[begin[codes[i] >> shift & 1023]++] = i;
    order.swap(other);
  }
}

// Nodes of the tree: leaf k (the k-th in Morton order) is k; the inner node that splits between leaves g and g + 1 is
// n + g.
struct RadixTree {
  std::int32_t leaves = 0, root = 0;
  std::vector<std::int32_t> left, right;  // [n - 1], of inner node n + g at g

  void build(const std::vector<std::uint64_t>& keys) {  // [n] ascending, distinct
    leaves = static_cast<std::int32_t>(keys.size());
    const std::int32_t inner = leaves - 1;
    left.resize(std::max(inner, 0)), right.resize(std::max(inner, 0));
    // A Cartesian tree on keys[g] ^ keys[g + 1]: within a range the largest of these marks the highest differing bit.
    // Gaps that are still open lie on a stack, above one that nothing ends; no two have the same highest bit.
    struct Gap {
      std::uint64_t difference;
      std::int32_t at;
    } open[65], *top = open;
    *top = {~std::uint64_t{0}, 0};
    for (std::int32_t g = 0; g <= inner; ++g) {
      const std::uint64_t difference = g < inner ? keys[g] ^ keys[g + 1] : ~std::uint64_t{0};
      std::int32_t below = g;  // left child: leaf g unless gaps of smaller difference end here
      for (; top->difference < difference; --top) right[top->at] = below, below = leaves + top->at;
      if (g == inner)
        root = below;
      else
        left[g] = below, *++top = {difference, g};
    }
  }

  bool is_leaf(std::int32_t node) const { return node < leaves; }
};

}  // namespace gmcn
