// One spelling for functions that g++ and nvcc compile alike: the formulas of this folder run on host and device.
#pragma once

#if defined(__CUDACC__)
#define GMCN_HD __host__ __device__ __forceinline__
#define GMCN_UNROLL _Pragma("unroll")
#else
// Always inlined: the vectorised files instantiate these templates under their own instruction set, and a copy that
// the linker shared between them could run on a machine that lacks it.
#define GMCN_HD inline __attribute__((always_inline))
// For loops over dimensions: g++ unrolls nested ones too late to keep small arrays in registers.
#define GMCN_UNROLL _Pragma("GCC unroll 8")
#endif
