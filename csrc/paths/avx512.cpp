// What is compiled once per instruction set, for avx512.
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512dq,avx512vl,avx512bw,avx2,fma")
#endif
#define GMCN_AVX512
#define GMCN_PATH avx512
#define GMCN_VECTOR_BYTES 64
#include "../convolve_relu_nodes/lanes_kernel.h"
#include "../evaluate/pairs_kernel.h"
#include "../fit/shares_kernel.h"
#include "../fit/steps_kernel.h"
#include "../largest_rows/largest_kernel.h"
#include "../layer_moments/rows_kernel.h"
#include "../poses/poses_kernel.h"
#include "../reduce_treehem/nodes_kernel.h"
#include "../tree_log_prob/levels_kernel.h"
#include "../winners/winners_kernel.h"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
