// pairs.h for baseline.
#define GMCN_PATH baseline
#define GMCN_VECTOR_BYTES 16
#define GMCN_POINT_VECTORS 2
#include "pairs_kernel.h"
