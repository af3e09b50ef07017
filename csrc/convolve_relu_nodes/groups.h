// The members of one output mixture's nodes: its components of positive weight in Morton order, cut into groups.
#pragma once

#include <algorithm>
#include <vector>

#include "../common/cut.h"
#include "../common/relu_nodes.h"
#include "lanes.h"

namespace gmcn {

// Used for one mixture after the other: memory stays.
template <typename T, int D>
class NodeGroups {
 public:
  // Of the first `count` components, whose members lie in the box low to high.
  void build(const Lanes<T, D>& lanes, std::int64_t count, const T* low, const T* high, std::int32_t wanted) {
    const auto& kernels = lane_kernels<T, D>();
    T per_unit[D];
    for (int d = 0; d < D; ++d) per_unit[d] = cells_per_unit(low[d], high[d]);
    keys_.resize(count + 1);
    const std::int32_t members = kernels.keys(lanes, count, low, per_unit, keys_.data());
    keys_.resize(members);
    ranges_.clear();
    if (members == 0) return;
    sort_keys(keys_, scratch_);
    constexpr int kSums = kSpreadSums<D>;
    rows_.resize(members), sums_.resize((members + 1) * kSums);
    kernels.sums(lanes, keys_.data(), members, low, rows_.data(), sums_.data());
    const double* const sums = sums_.data();
    cut(
        keys_, wanted,
        [sums](std::int32_t b, std::int32_t e) { return spread_priority<D>(sums + b * kSums, sums + e * kSums); },
        ranges_);
    std::copy_n(low, D, low_);
  }

  std::int32_t size() const { return static_cast<std::int32_t>(ranges_.size()); }

  // The nodes, and group[i] = j for the members i of node j.
  void moments(const Lanes<T, D>& lanes, std::int64_t count, std::int32_t* group, std::vector<Gaussian<T, D>>& nodes) {
    nodes.assign(size(), {});
    for (std::int32_t j = 0; j < size(); ++j) {
      double mass = 0, first[D] = {};
      for (std::int32_t k = ranges_[j].begin; k < ranges_[j].end; ++k) {
        const MemberRow<T, D>& row = rows_[k];
        group[static_cast<std::uint32_t>(keys_[k])] = j;
        mass += row.weight;
        for (int d = 0; d < D; ++d) first[d] += static_cast<double>(row.weight) * row.offset[d];
      }
      nodes[j].weight = static_cast<T>(mass);
      for (int d = 0; d < D; ++d) nodes[j].position[d] = static_cast<T>(low_[d] + first[d] / mass);
    }
    lane_kernels<T, D>().covariances(lanes, count, group, nodes.data());
    for (Gaussian<T, D>& node : nodes)
      for (int p = 0; p < kPacked<D>; ++p) node.covariance[p] /= node.weight;
  }

 private:
  std::vector<std::uint64_t> keys_, scratch_;  // along the curve
  std::vector<MemberRow<T, D>> rows_;
  std::vector<double> sums_;
  std::vector<Range> ranges_;
  T low_[D];
};

}  // namespace gmcn
