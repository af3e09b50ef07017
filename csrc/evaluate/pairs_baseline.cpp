// pairs.h for baseline.
#define GMCN_PATH baseline
#define GMCN_VECTOR_BYTES 16
#include "pairs_kernel.h"
