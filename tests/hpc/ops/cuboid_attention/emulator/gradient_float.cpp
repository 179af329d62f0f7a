// The gradient kernel for elements of type float.
#define KERNEL_TYPE float
#define SUFFIX float
#include "gradient_entry.h"
