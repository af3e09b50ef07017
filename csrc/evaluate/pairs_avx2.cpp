// pairs.h for avx2.
#if defined(__x86_64__)
#pragma GCC target("avx2,fma")
#define GMCN_PATH avx2
#define GMCN_VECTOR_BYTES 32
#define GMCN_POINT_VECTORS 2
#include "pairs_kernel.h"
#endif
