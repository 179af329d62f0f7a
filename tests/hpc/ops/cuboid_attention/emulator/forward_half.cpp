// The forward kernel for elements of type half.
#define KERNEL_TYPE half
#define SUFFIX float16
#include "forward_entry.h"
