// What is compiled once per instruction set, for baseline.
#define GMCN_PATH baseline
#define GMCN_VECTOR_BYTES 16
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
