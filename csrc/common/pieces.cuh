// Working space of kernels, handed out piece by piece.
#pragma once

#include <cstdint>

#include "macros.h"

namespace gmcn {

// Beyond so many bytes of global memory, blocks take several mixtures in turn. Little in tests, so that they do.
#if defined(GMCN_EMULATE)
inline constexpr std::int64_t kWorkingSpace = 1 << 20;
#else
inline constexpr std::int64_t kWorkingSpace = 256 << 20;
#endif

// Each piece begins at a multiple of 16 bytes. From address zero on, this counts them.
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
