// The little of CUDA that kernels need, in one place: launching, shared memory, the current device and stream. Tests
// compile the same files for the CPU with GMCN_EMULATE (tests/csrc/cuda_on_cpu.h).
#pragma once

#include <cstdint>

#if defined(GMCN_EMULATE)
#include "cuda_on_cpu.h"
#else
#include <cuda_runtime.h>
#include <torch/csrc/inductor/aoti_torch/c/shim.h>
#include <torch/csrc/stable/accelerator.h>
#endif

#include "tensors.h"

namespace gmcn {

inline constexpr std::int64_t kDeclaredShared = 2048;  // bytes, at most, that a kernel declares itself

#if defined(GMCN_EMULATE)
#define GMCN_REGISTER_CUDA(m) STABLE_TORCH_LIBRARY_IMPL(gmcn_emulated, CPU, m)

using Stream = int;
using emulation::dynamic_shared;

struct OnDevice {
  explicit OnDevice(const Tensor&) {}
  Stream stream = 0;
};

inline std::int64_t max_shared_bytes() { return GMCN_EMULATE; }  // of the GPU that is played

template <typename... P, typename... A>
void launch(void (*kernel)(P...), std::int64_t grid, int block, std::int64_t shared_bytes, Stream, A... arguments) {
  if (grid > 0) emulation::run(grid, block, shared_bytes, [&] { kernel(static_cast<P>(arguments)...); });
}

inline float fast_exp2(float y) { return std::exp2(y); }
#else
#define GMCN_REGISTER_CUDA(m) STABLE_TORCH_LIBRARY_IMPL(gmcn, CUDA, m)

using Stream = cudaStream_t;

inline void check_cuda(cudaError_t status, const char* what) {
  if (status != cudaSuccess) (void)cudaGetLastError();  // said here: torch must not find it again
  require(status == cudaSuccess, "CUDA: ", what, " failed: ", cudaGetErrorString(status));
}

// Makes the tensor's device current while it lives.
struct OnDevice {
  explicit OnDevice(const Tensor& tensor) : guard(tensor.get_device_index()) {
    void* current = nullptr;
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(tensor.get_device_index(), &current));
    stream = static_cast<Stream>(current);
  }
  torch::stable::accelerator::DeviceGuard guard;
  Stream stream;
};

__device__ __forceinline__ unsigned char* dynamic_shared() {
  extern __shared__ __align__(16) unsigned char gmcn_dynamic_shared[];
  return gmcn_dynamic_shared;
}

// What a block of the current device can have of shared memory.
inline std::int64_t max_shared_bytes() {
  int device = 0, bytes = 0;
  check_cuda(cudaGetDevice(&device), "finding the current device");
  check_cuda(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
             "asking for the size of shared memory");
  return bytes;
}

// Runs kernel(arguments...) on grid blocks of block threads; nothing where the grid is empty.
template <typename... P, typename... A>
void launch(void (*kernel)(P...), std::int64_t grid, int block, std::int64_t shared_bytes, Stream stream,
            A... arguments) {
  if (grid == 0) return;
  require(grid <= INT32_MAX, "CUDA: ", grid, " blocks are more than a launch can have; try a smaller batch");
  // 48 KiB without being asked for, of which kernels declare up to 2 KiB themselves. Always for the same size: another
  // thread that launches this kernel must not find less than it asked for.
  if (shared_bytes > 48 * 1024 - kDeclaredShared)
    check_cuda(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(max_shared_bytes() - kDeclaredShared)),
               "asking for shared memory");
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(grid)), config.blockDim = dim3(static_cast<unsigned>(block));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes), config.stream = stream;
  check_cuda(cudaLaunchKernelEx(&config, kernel, arguments...), "launching a kernel");
}

// One instruction (2 ulp) where files are compiled with -ftz=true.
__device__ __forceinline__ float fast_exp2(float y) { return exp2f(y); }
#endif

__device__ __forceinline__ double fast_exp2(double y) { return exp2(y); }

// Working space for `count` objects on the tensor's device, of unknown content.
template <typename V>
class Scratch {
 public:
  Scratch(const Tensor& like, std::int64_t count)
      : bytes_(torch::stable::new_empty(like, {count * static_cast<std::int64_t>(sizeof(V))},
                                        torch::headeronly::ScalarType::Byte)) {}
  V* data() const { return reinterpret_cast<V*>(bytes_.mutable_data_ptr<std::uint8_t>()); }

 private:
  Tensor bytes_;
};

// How many blocks of `size` cover `count`.
inline std::int64_t blocks_for(std::int64_t count, std::int64_t size) { return (count + size - 1) / size; }

inline std::int64_t at_most(std::int64_t value, std::int64_t limit) { return value < limit ? value : limit; }
inline std::int64_t at_least_one(std::int64_t value) { return value > 1 ? value : 1; }

}  // namespace gmcn
