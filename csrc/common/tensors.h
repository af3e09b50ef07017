// What every operation needs of torch, through its stable ABI: checks, allocation, dispatch, tasks.
#pragma once

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>
#include <torch/headeronly/util/Exception.h>

#include <atomic>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <new>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

namespace gmcn {

using Tensor = torch::stable::Tensor;

// For what a user can put right: the sentence alone. STD_TORCH_CHECK begins with function, file and line.
template <typename... Words>
void require(bool good, const Words&... words) {
  if (good) return;
  std::ostringstream sentence;
  (sentence << ... << words);
  throw std::runtime_error(sentence.str());
}

using Shape = std::vector<std::int64_t>;

inline Tensor empty_like_of(const Tensor& like, const Shape& shape) {
  return torch::stable::new_empty(like, torch::headeronly::IntHeaderOnlyArrayRef(shape.data(), shape.size()));
}

// Of int64.
inline Tensor empty_indices_of(const Tensor& like, const Shape& shape) {
  return torch::stable::new_empty(like, torch::headeronly::IntHeaderOnlyArrayRef(shape.data(), shape.size()),
                                  torch::headeronly::ScalarType::Long);
}

inline Tensor zeros_like_of(const Tensor& like, const Shape& shape) {
  Tensor result = empty_like_of(like, shape);
  torch::stable::zero_(result);
  return result;
}

inline void check_shape(const Tensor& tensor, const std::string& name, const Shape& shape) {
  bool same = tensor.dim() == static_cast<std::int64_t>(shape.size());
  std::int64_t d = 0;
  for (const std::int64_t size : shape) same = same && tensor.size(d++) == size;
  STD_TORCH_CHECK(same, name, " has the wrong shape for the other arguments (call gmcn.ops, which checks them)");
}

inline void make_contiguous(std::initializer_list<Tensor*> tensors) {
  for (Tensor* tensor : tensors) *tensor = torch::stable::contiguous(*tensor);
}

// Components (or sorted points) of one mixture are numbered in 32 bits, and so are the entries of their covariances.
inline void check_count(std::int64_t count, const char* operation) {
  constexpr std::int64_t most = 1 << 27;
  require(count <= most, operation, ": ", count, " components or points of one mixture are more than ", most);
}

// Calls f.operator()<T>() for the tensor's dtype.
template <typename F>
void dispatch(const Tensor& tensor, const F& f) {
  using torch::headeronly::ScalarType;
  const auto type = tensor.scalar_type();
  STD_TORCH_CHECK(type == ScalarType::Float || type == ScalarType::Double, "expected float32 or float64 tensors");
  type == ScalarType::Float ? f.template operator()<float>() : f.template operator()<double>();
}

// Calls f.operator()<T, D>() for the tensor's dtype and the dimension.
template <typename F>
void dispatch(const Tensor& tensor, std::int64_t dimension, const F& f) {
  STD_TORCH_CHECK(dimension == 2 || dimension == 3, "expected mixtures in 2 or 3 dimensions");
  dispatch(tensor,
           [&]<typename T>() { dimension == 2 ? f.template operator()<T, 2>() : f.template operator()<T, 3>(); });
}

// Numbers below the smallest normal one count as zero while this lives: far Gaussians would be computed in microcode.
class FlushDenormals {
#if defined(__SSE__)
 public:
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(saved_); }

 private:
  unsigned saved_;
#endif
};

// Torch's threads are no code that ThreadSanitizer sees: it has to be told that tasks begin after what came before
// them, and end before what follows. Whatever else it reports is real. One address for all: that of a local variable
// would have to be read first.
#if defined(__SANITIZE_THREAD__)
extern "C" void __tsan_acquire(void*);
extern "C" void __tsan_release(void*);
inline char threads_meet;
#define GMCN_HAPPENS_BEFORE() __tsan_release(&threads_meet)
#define GMCN_HAPPENS_AFTER() __tsan_acquire(&threads_meet)
#else
#define GMCN_HAPPENS_BEFORE()
#define GMCN_HAPPENS_AFTER()
#endif

// Runs f(i) for i < tasks on torch's threads, at least `grain` of them on each. Returns the smallest i whose task
// returned false, or -1. An exception is thrown again here: through torch's stable ABI it would lose its words.
template <typename F>
std::int64_t run_tasks(std::int64_t tasks, const F& f, std::int64_t grain = 1) {
  std::atomic<std::int64_t> first_bad{tasks};
  std::exception_ptr thrown;
  std::atomic<bool> has_thrown{false};
  const auto run = [&](std::int64_t begin, std::int64_t end) {
    GMCN_HAPPENS_AFTER();
    [[maybe_unused]] const FlushDenormals flush;
    try {
      for (std::int64_t i = begin; i < end; ++i) {
        if (f(i)) continue;
        std::int64_t seen = first_bad;
        while (i < seen && !first_bad.compare_exchange_weak(seen, i)) {
        }
      }
    } catch (...) {
      if (!has_thrown.exchange(true)) thrown = std::current_exception();
    }
    GMCN_HAPPENS_BEFORE();
  };
  GMCN_HAPPENS_BEFORE();
  torch::stable::parallel_for(0, tasks, grain, run);
  GMCN_HAPPENS_AFTER();
  if (has_thrown) {
    try {
      std::rethrow_exception(thrown);
    } catch (const std::bad_alloc&) {
      require(false, "not enough memory for this operation's working space; try a smaller batch");
    }
  }
  return first_bad == tasks ? -1 : first_bad.load();
}

inline void check_positive_definite(std::int64_t bad_mixture) {
  require(bad_mixture < 0, "a covariance of mixture ", bad_mixture,
          " (leading dimensions flattened) is not positive definite or not finite");
}

}  // namespace gmcn
