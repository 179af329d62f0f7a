// The gradient kernel for elements of type half.
#define KERNEL_TYPE half
#define SUFFIX half
#include "gradient_entry.h"
