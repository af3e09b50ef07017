// Which nodes of the tree stand for the mixture: the same list as the CPU's, in the same order. One warp opens the
// nodes, the heaviest first.
#pragma once

#include "../common/tournament.cuh"
#include "tree.cuh"

namespace gmcn {

struct Selected {
  std::uint32_t node : 28;
  std::uint32_t refit : 4;  // 0: what the node keeps; else what its children keep, merged to so many Gaussians
};

struct Selection {
  Selected* list;         // [places]
  std::int32_t places;    // at most the tree's leaves, since the nodes are disjoint
  std::int32_t* winners;  // working space of the tournament
};

// node_count(node): how many Gaussians a node keeps; refit_count(node, most): how many a refit to `most` gives;
// mass(inner node).
template <typename T, typename NodeCount, typename RefitCount, typename Mass>
__device__ void select(const BlockTree& tree, std::int32_t wanted, int t, const NodeCount& node_count,
                       const RefitCount& refit_count, const Mass& mass, Selection& selection) {
  __shared__ std::int32_t places;
  if (warp() == 0) {
    Selected* const list = selection.list;
    const Tournament tournament{selection.winners, tree.leaves};
    const auto offered = [&](std::int32_t place) {
      const Selected s = list[place];
      const auto node = static_cast<std::int32_t>(s.node);
      return s.refit || tree.is_leaf(node) || node_count(node) != t ? T(-1) : mass(node);
    };
    const auto put = [&](std::int32_t place, std::int32_t node, int refit) {
      if (lane() == 0) list[place] = {static_cast<std::uint32_t>(node), static_cast<std::uint32_t>(refit)};
    };
    std::int32_t size = 1, total = node_count(tree.root);
    const bool too_many = total > wanted;
    if (too_many) total = wanted;
    put(0, tree.root, too_many ? wanted : 0);
    __syncwarp();
    std::int32_t place = total < wanted ? tournament.play<T>(0, 1, offered) : -1;
    while (total < wanted && place >= 0) {
      const auto node = static_cast<std::int32_t>(list[place].node);
      const std::int32_t l = tree.left[node - tree.leaves], r = tree.right[node - tree.leaves];
      const int more = node_count(l) + node_count(r) - t;
      __syncwarp();  // all lanes have read the list before it changes
      if (more > wanted - total) {
        const int most = t + wanted - total;
        put(place, node, most);
        total += refit_count(node, most) - t;
      } else {
        put(place, l, 0);
        put(size++, r, 0);
        total += more;
      }
      __syncwarp();
      place = tournament.grow<T>(place, size, offered);
    }
    if (lane() == 0) places = size;
  }
  __syncthreads();
  selection.places = places;
}

}  // namespace gmcn
