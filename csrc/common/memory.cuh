// Global and shared memory as kernels use it: rows of a mixture's tensors to write, and pieces of working space.
#pragma once

#include "components.h"

namespace gmcn {

template <typename T, int D>
struct Rows {
  T* weights;      // [N]
  T* positions;    // [N, D]
  T* covariances;  // [N, D, D]

  GMCN_HD Rows from(std::int64_t begin) const {
    return {weights + begin, positions + begin * D, covariances + begin * D * D};
  }
  GMCN_HD Gaussian<T, D> read(std::int64_t i) const { return Stored<T, D>{weights, positions, covariances, 0}.at(i); }
  GMCN_HD void write(std::int64_t i, const Gaussian<T, D>& g) const {
    weights[i] = g.weight;
    GMCN_UNROLL
    for (int d = 0; d < D; ++d) positions[i * D + d] = g.position[d];
    unpack<T, D>(g.covariance, covariances + i * D * D);
  }
};

// Hands out pieces of a piece of memory, each at a multiple of 16 bytes. From address zero on it counts them.
class Pieces {
 public:
  GMCN_HD explicit Pieces(unsigned char* begin) : begin_(begin), next_(begin) {}

  template <typename V>
  GMCN_HD V* take(std::int64_t count) {
    V* const piece = reinterpret_cast<V*>(next_);
    next_ += (count * static_cast<std::int64_t>(sizeof(V)) + 15) / 16 * 16;
    return piece;
  }
  GMCN_HD std::int64_t bytes() const { return next_ - begin_; }

 private:
  unsigned char *begin_, *next_;
};

}  // namespace gmcn
