// The nodes of several reduction trees and the Gaussians that they keep: bottom-up each node merges what its children
// keep. Merges wait in queues, one for each number of Gaussians, until there are enough for a batch: of one tree's
// nodes few can be merged side by side, of those of many trees enough.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#include "nodes.h"

namespace gmcn {

template <typename T, int D>
class Forest {
 public:
  struct Node {
    std::int32_t parent;       // -1: a root
    std::int32_t left, right;  // -1: a leaf
    T mass;
    std::uint8_t missing;  // inner nodes among its children that are not made yet
    std::uint8_t count;    // Gaussians that it keeps
  };

  // What to merge for a row of the result: `most` Gaussians from there on.
  struct Refit {
    std::int32_t row;
    int m, most;
    std::int32_t in[kMaxMerge + 1];
  };

  // `leaves` is the number of them all; the Gaussians numbered from 0 on are theirs. The result has `rows` Gaussians.
  Forest(std::int32_t leaves, std::int32_t rows, int per_node, const MergeOptions<T>& options, bool for_gradient)
      : nodes(2 * static_cast<std::size_t>(leaves)),
        t_(per_node),
        for_gradient_(for_gradient),
        options_(options),
        made_(leaves),
        places_(1 + rows),
        kept_(nodes.size() * per_node),
        queues_(2 * per_node + 1),
        room_(kBatch * (per_node + 2)) {
    const std::size_t most = static_cast<std::size_t>(leaves) * (1 + t_) + rows;
    gaussians_ = allocate(most, gaussians);
    if (for_gradient) place.reset(new std::int32_t[most]), std::fill_n(place.get(), leaves, 0);
  }

  std::vector<Node> nodes;
  Fields<T, D> gaussians{}, gradients{};
  // Of the gradient of each Gaussian, among `gradients`: 0 is none, then come those of the result's rows, which others
  // write, then those that merges give.
  std::unique_ptr<std::int32_t[]> place;

  static std::unique_ptr<T[]> allocate(std::size_t count, Fields<T, D>& fields) {
    // A stride that is a power of two would put all fields of a Gaussian into the same few lines of a cache.
    fields.stride = (count + 31) / 32 * 32 + 16;
    std::unique_ptr<T[]> memory(new T[kFields<T, D> * fields.stride]);
    fields.data = memory.get();
    return memory;
  }

  const std::int32_t* kept(std::int32_t node) const { return kept_.data() + static_cast<std::size_t>(node) * t_; }

  // Makes an inner node of which nothing is missing, and its ancestors as far as nothing is missing then.
  void make(std::int32_t node) {
    while (pass_on(node)) {
      node = nodes[node].parent;
      if (node < 0 || --nodes[node].missing > 0) break;
    }
  }
  void set_leaf(std::int32_t node, std::int32_t gaussian) {
    nodes[node].count = 1;
    kept_[static_cast<std::size_t>(node) * t_] = gaussian;
  }

  // What the two children of an inner node keep, without the weightless. (No branches: nobody can foretell them.)
  int collect(std::int32_t node, std::int32_t (&collected)[kMaxMerge + 1]) const {
    int m = 0;
    for (const std::int32_t child : {nodes[node].left, nodes[node].right})
      for (int k = 0; k < t_; ++k) {
        const std::int32_t gaussian = kept(child)[k];
        collected[m] = gaussian;
        m += (k < nodes[child].count) & (gaussians.data[gaussian] >= T(kMinWeight));
      }
    return m;
  }

  // Merges until no queue has enough for a batch, or all that wait.
  void merge(bool all) {
    while (all || full_ > 0) {
      Queue& longest = *std::max_element(queues_.begin(), queues_.end(),
                                         [](const Queue& one, const Queue& other) { return one.size < other.size; });
      if (longest.size == 0) return;
      const std::int32_t merges = std::min(longest.size, kBatch), out = run(longest, merges, t_);
      std::int32_t owners[kBatch];
      std::copy_n(longest.owners.data() + longest.size, kBatch, owners);
      for (std::int32_t l = 0; l < merges; ++l) {
        std::int32_t* const kept = kept_.data() + static_cast<std::size_t>(owners[l]) * t_;
        for (int k = 0; k < t_; ++k) kept[k] = out + k * merges + l;
        nodes[owners[l]].count = static_cast<std::uint8_t>(t_);
        const std::int32_t parent = nodes[owners[l]].parent;
        if (parent >= 0 && --nodes[parent].missing == 0) make(parent);
      }
    }
  }

  // rows[row + k] becomes the k-th Gaussian of each refit.
  void merge(const std::vector<Refit>& refits, std::int32_t* rows) {
    for (int most = 1; most < 2 * t_; ++most) {
      const auto run_queue = [&](Queue& queue) {
        const std::int32_t merges = queue.size;
        if (merges == 0) return;
        const std::int32_t out = run(queue, merges, most);
        for (std::int32_t l = 0; l < merges; ++l)
          for (int k = 0; k < most; ++k) rows[queue.owners[l] + k] = out + k * merges + l;
      };
      for (const Refit& refit : refits) {
        if (refit.most != most) continue;
        add(refit.row, refit.in, refit.m);
        if (queues_[refit.m].size == kBatch) run_queue(queues_[refit.m]);
      }
      for (Queue& queue : queues_) run_queue(queue);
    }
  }

  void make_gradients() {
    gradients_ = allocate(places_, gradients);
    gradients.set(0, {});
  }
  void descend() const {
    for (std::size_t b = batches_.size(); b-- > 0;) {
      const Batch& batch = batches_[b];
      node_kernels<T, D>().merge_vjp(merges_of(batch), options_, gaussians, place.get(), gradients, batch.to);
    }
  }

 private:
  // Merges that wait, in no order.
  struct Queue {
    std::int32_t size = 0;
    std::vector<std::int32_t> owners, in;  // [room] nodes, or rows of the result; [m, room]
  };

  void add(std::int32_t owner, const std::int32_t* gaussians, int m) {
    Queue& queue = queues_[m];
    if (queue.owners.empty()) queue.owners.resize(room_), queue.in.resize(m * room_);
    for (int j = 0; j < m; ++j) queue.in[j * room_ + queue.size] = gaussians[j];
    queue.owners[queue.size++] = owner;
    full_ += queue.size % kBatch == 0;
  }

  struct Delete {
    void operator()(std::byte* memory) const { ::operator delete[](memory, std::align_val_t(kStateAlignment)); }
  };
  // Room for the state of a batch, part of a larger piece; without a gradient, always the same.
  std::byte* state(std::size_t bytes) {
    constexpr std::size_t kPiece = 1 << 16;
    if (!for_gradient_) left_ = piece_;
    if (bytes > left_) {
      left_ = piece_ = std::max(bytes, kPiece);
      states_.emplace_back(new (std::align_val_t(kStateAlignment)) std::byte[piece_]);
    }
    left_ -= bytes;
    return states_.back().get() + (piece_ - left_ - bytes);
  }

  struct Batch {
    std::int32_t merges, out, to;
    int m, t;
    std::size_t in;  // its place in inputs_
    std::byte* state;
  };
  Merges merges_of(const Batch& b) const {
    return {b.merges, b.m,    b.t, reinterpret_cast<const std::int32_t (*)[kBatch]>(inputs_.data() + b.in),
            b.out,    b.state};
  }

  // Whether the node needs no merge; else it waits for one.
  bool pass_on(std::int32_t node) {
    Node& of = nodes[node];
    of.mass = nodes[of.left].mass + nodes[of.right].mass;
    std::int32_t collected[kMaxMerge + 1];
    const int m = collect(node, collected);
    if (m > t_) {
      add(node, collected, m);
      return false;
    }
    of.count = static_cast<std::uint8_t>(m);
    for (int k = 0; k < t_; ++k) kept_[static_cast<std::size_t>(node) * t_ + k] = k < m ? collected[k] : 0;
    return true;
  }

  // Merges the last ones of the queue to t Gaussians each and takes them out. Returns the first of these Gaussians.
  std::int32_t run(Queue& queue, std::int32_t merges, int t) {
    const int m = static_cast<int>(&queue - queues_.data());
    queue.size -= merges, full_ -= merges == kBatch;
    if (!for_gradient_) inputs_.clear();
    Batch batch{merges, made_, places_, m, t, inputs_.size(), state(node_kernels<T, D>().state_size(m, t))};
    // What the queue has beyond `merges` is old, but in no place where no Gaussian is.
    for (int j = 0; j < m; ++j) {
      const auto in = queue.in.begin() + j * room_ + queue.size;
      inputs_.insert(inputs_.end(), in, in + kBatch);
    }
    if (for_gradient_) {
      for (int j = 0; j < m; ++j)
        for (int l = 0; l < merges; ++l) place[queue.in[j * room_ + queue.size + l]] = places_ + j * merges + l;
      std::fill_n(place.get() + made_, t * merges, 0);
      places_ += m * merges;
      batches_.push_back(batch);
    }
    node_kernels<T, D>().merge(merges_of(batch), options_, gaussians);
    made_ += t * merges;
    return batch.out;
  }

  int t_;
  bool for_gradient_;
  MergeOptions<T> options_;
  std::int32_t made_;               // Gaussians
  std::int32_t places_;             // of gradients
  std::vector<std::int32_t> kept_;  // [nodes, t]
  std::vector<Queue> queues_;       // by the number of Gaussians that are merged
  // Before each pair of leaves fewer than kBatch wait in each of the t queues, and a batch makes no more possible than
  // it merges.
  std::int32_t room_;
  int full_ = 0;  // how many times a batch waits
  std::vector<std::int32_t> inputs_;
  std::vector<Batch> batches_;  // in order
  std::vector<std::unique_ptr<std::byte[], Delete>> states_;
  std::size_t piece_ = 0, left_ = 0;  // bytes of the last one
  std::unique_ptr<T[]> gaussians_, gradients_;
};

}  // namespace gmcn
