// The forward kernel for elements of type float.
#define KERNEL_TYPE float
#define SUFFIX float
#include "forward_entry.h"
