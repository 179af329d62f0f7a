// The gradient kernel for elements of type half.
#define KERNEL_TYPE bfloat16_t
#define SUFFIX bfloat
#include "gradient_entry.h"
