// TreeHEM for a few mixtures of equal size (section 4.1 and appendix D): for each a radix tree over the Morton order of
// the centres; bottom-up each node merges what its children keep to t Gaussians; top-down the heaviest nodes are opened
// until n Gaussians are selected.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "../common/morton.h"
#include "../common/radix_tree.h"
#include "forest.h"

namespace gmcn {

template <typename T, int D>
class Reductions {
 public:
  Reductions(std::int32_t mixtures, std::int32_t components, std::int32_t wanted, int per_node,
             const MergeOptions<T>& options, bool for_gradient)
      : mixtures_(mixtures),
        n_(components),
        wanted_(wanted),
        t_(per_node),
        scales_(mixtures),
        order_(static_cast<std::size_t>(mixtures) * components + kBatch),
        roots_(mixtures),
        rows_(static_cast<std::size_t>(mixtures) * wanted, -1),
        forest_(mixtures * components, mixtures * wanted, per_node, options, for_gradient),
        components_memory_(Forest<T, D>::allocate(components, components_)),
        codes_(components_.stride),
        keys_(components) {}

  // Takes component(i) for i < n of a mixture, in units in which the average variance is one. False: a weight or a
  // covariance is unusable.
  template <typename F>
  bool read(std::int32_t mixture, const F& component) {
    const NodeKernels<T, D>& kernels = node_kernels<T, D>();
    for (std::int32_t i = 0; i < n_; ++i) components_.set(i, component(i));
    Gaussian<T, D> padding = components_[0];
    for (T& c : padding.covariance) c = 0;
    for (std::int32_t i = n_; i % kBatch != 0; ++i) components_.set(i, padding);
    const T scale = scales_[mixture] = kernels.survey(components_, n_, codes_.data());
    if (!(scale > T(0)) || !(scale < T(INFINITY))) return false;
    std::int32_t* const order = order_.data() + static_cast<std::size_t>(mixture) * n_;
    if (n_ <= kernels.few)
      kernels.sort_few(codes_.data(), n_, order);
    else
      sort_codes(codes_.data(), n_, 30, sorted_), std::copy(sorted_.begin(), sorted_.end(), order);
    if (!kernels.make_leaves(components_, order, n_, scale, forest_.gaussians, mixture * n_)) return false;
    for (std::int32_t k = 0; k < n_; ++k)
      keys_[k] = static_cast<std::uint64_t>(codes_[order[k]]) << 32 | static_cast<std::uint32_t>(order[k]);
    tree_.build(keys_);
    plant(mixture);
    return true;
  }

  // Writes exactly `wanted` components of each mixture; those beyond what it holds have weight 0 and the average
  // covariance.
  void forward(const Rows<T, D>& result, std::int64_t row) {
    fit();
    for (std::int32_t r = 0; r < mixtures_ * wanted_; ++r) {
      const T scale = scales_[r / wanted_];
      Gaussian<T, D> g = value(r);
      for (int d = 0; d < D; ++d) g.position[d] *= scale;
      for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] *= scale * scale;
      result.write(row + r, g);
    }
  }

  // write(mixture, i, gradient) for all components of all mixtures; the gradients of the result are those from `row`
  // on.
  template <typename F>
  void backward(const Stored<T, D>& upstream, std::int64_t row, const F& write) {
    fit();
    forest_.make_gradients();
    std::vector<T> scale_gradients(mixtures_);
    for (std::int32_t r = 0; r < mixtures_ * wanted_; ++r) {
      const T scale = scales_[r / wanted_];
      T& scale_gradient = scale_gradients[r / wanted_];
      const Gaussian<T, D> made = value(r);
      Gaussian<T, D> g = upstream.at(row + r);
      scale_gradient += 2 * scale * inner<T, D>(g.covariance, made.covariance);
      for (int d = 0; d < D; ++d) {
        scale_gradient += g.position[d] * made.position[d];
        g.position[d] *= scale;
      }
      for (int p = 0; p < kPacked<D>; ++p) g.covariance[p] *= scale * scale;
      if (rows_[r] < 0) continue;
      forest_.place[rows_[r]] = 1 + r;
      forest_.gradients.set(1 + r, g);
    }
    forest_.descend();
    for (std::int32_t mixture = 0; mixture < mixtures_; ++mixture)
      sort_back(mixture, scale_gradients[mixture],
                [&](std::int32_t i, const Gaussian<T, D>& g) { write(mixture, i, g); });
  }

 private:
  struct Selected {
    std::int32_t node;
    int refit;  // 0: what the node keeps; else what its children keep, merged to so many Gaussians
  };

  // The node of the forest that is `node` in the tree of a mixture.
  std::int32_t planted(std::int32_t mixture, std::int32_t node) const { return 2 * mixture * n_ + node; }

  void plant(std::int32_t mixture) {
    auto* const nodes = forest_.nodes.data() + planted(mixture, 0);
    for (std::int32_t k = 0; k < n_; ++k) {
      nodes[k].left = nodes[k].right = -1, nodes[k].mass = forest_.gaussians.data[mixture * n_ + k];
      forest_.set_leaf(planted(mixture, k), mixture * n_ + k);
    }
    for (std::int32_t g = 0; g < n_ - 1; ++g) {
      const std::int32_t node = planted(mixture, n_ + g);
      nodes[n_ + g].left = planted(mixture, tree_.left[g]), nodes[n_ + g].right = planted(mixture, tree_.right[g]);
      nodes[n_ + g].missing = (tree_.left[g] >= n_) + (tree_.right[g] >= n_);
      nodes[tree_.left[g]].parent = nodes[tree_.right[g]].parent = node;
    }
    roots_[mixture] = planted(mixture, tree_.root);
    forest_.nodes[roots_[mixture]].parent = -1;
  }

  void fit() {
    components_memory_.reset();
    for (std::int32_t mixture = 0; mixture < mixtures_; ++mixture)
      for (std::int32_t node = planted(mixture, n_); node < planted(mixture, 2 * n_ - 1); ++node)
        if (forest_.nodes[node].right - forest_.nodes[node].left == 1)  // two leaves
          forest_.make(node), forest_.merge(false);
    forest_.merge(true);
    for (std::int32_t mixture = 0; mixture < mixtures_; ++mixture) select(mixture);
    forest_.merge(refits_, rows_.data());
  }

  // Opens the heaviest full node (the first in the list where masses tie) until `wanted` Gaussians are selected. Where
  // opening a node gives more than are left to place, what its children keep is merged to just as many.
  void select(std::int32_t mixture) {
    const auto count = [&](std::int32_t node) -> std::int32_t { return forest_.nodes[node].count; };
    selected_.assign(1, {roots_[mixture], 0}), heaviest_.clear();
    std::int32_t total = count(roots_[mixture]);
    const auto offer = [&](std::int32_t place) {
      const std::int32_t node = selected_[place].node;
      if (forest_.nodes[node].left < 0 || count(node) != t_) return;
      heaviest_.emplace_back(forest_.nodes[node].mass, -place);
      std::push_heap(heaviest_.begin(), heaviest_.end());
    };
    if (total > wanted_)
      selected_[0].refit = total = wanted_;
    else
      offer(0);
    while (total < wanted_ && !heaviest_.empty()) {
      std::pop_heap(heaviest_.begin(), heaviest_.end());
      const std::int32_t place = -heaviest_.back().second, node = selected_[place].node;
      heaviest_.pop_back();
      const std::int32_t left = forest_.nodes[node].left, right = forest_.nodes[node].right;
      const std::int32_t more = count(left) + count(right) - t_;
      if (more > wanted_ - total) {
        selected_[place].refit = t_ + wanted_ - total;
        std::int32_t unused[kMaxMerge + 1];
        total += std::min(forest_.collect(node, unused), selected_[place].refit) - t_;
        continue;
      }
      selected_[place].node = left;
      selected_.push_back({right, 0});
      total += more;
      offer(place);
      offer(static_cast<std::int32_t>(selected_.size()) - 1);
    }
    list_rows(mixture * wanted_);
  }

  // The Gaussians of the selected nodes, or what makes them.
  void list_rows(std::int32_t row) {
    for (const Selected& s : selected_) {
      if (!s.refit) {
        row = std::copy_n(forest_.kept(s.node), forest_.nodes[s.node].count, rows_.begin() + row) - rows_.begin();
        continue;
      }
      typename Forest<T, D>::Refit refit{row, 0, s.refit, {}};
      refit.m = forest_.collect(s.node, refit.in);
      if (refit.m > s.refit)
        refits_.push_back(refit);
      else
        std::copy_n(refit.in, refit.m, rows_.begin() + row);
      row += std::min(refit.m, s.refit);
    }
  }

  Gaussian<T, D> value(std::int32_t row) const {
    if (rows_[row] >= 0) return forest_.gaussians[rows_[row]];
    Gaussian<T, D> padding = {};
    set_identity<T, D>(T(1), padding.covariance);
    return padding;
  }

  // Gradients of leaves as those of components, in the order and the units of the input.
  template <typename F>
  void sort_back(std::int32_t mixture, T scale_gradient, const F& write) {
    const std::int32_t first = mixture * n_;
    if (!components_memory_) components_memory_ = Forest<T, D>::allocate(n_, components_);
    node_kernels<T, D>().finish_gradients(forest_.gaussians, first, n_, scales_[mixture], scale_gradient,
                                          forest_.place.get(), forest_.gradients, components_);
    for (std::int32_t k = 0; k < n_; ++k) write(order_[first + k], components_[k]);
  }

  std::int32_t mixtures_, n_, wanted_;
  int t_;
  std::vector<T> scales_;            // [mixtures]
  std::vector<std::int32_t> order_;  // [mixtures, n] component of each leaf; vectors read more
  std::vector<std::int32_t> roots_;  // [mixtures]
  std::vector<std::int32_t> rows_;   // [mixtures, wanted] Gaussians of the result; -1: none
  Forest<T, D> forest_;
  std::vector<typename Forest<T, D>::Refit> refits_;

  // Of one mixture at a time.
  Fields<T, D> components_;  // before the fit; their gradients after it
  std::unique_ptr<T[]> components_memory_;
  std::vector<std::uint32_t> codes_;
  std::vector<std::int32_t> sorted_;
  std::vector<std::uint64_t> keys_;
  RadixTree tree_;
  std::vector<Selected> selected_;
  std::vector<std::pair<T, std::int32_t>> heaviest_;  // mass, -(place in the list)
};

}  // namespace gmcn
