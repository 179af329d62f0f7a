// The gradient kernel for elements of type half.
#define KERNEL_TYPE half
#define SUFFIX float16
#include "gradient_entry.h"
