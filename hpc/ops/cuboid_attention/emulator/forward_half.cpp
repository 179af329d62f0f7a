// The forward kernel for elements of type half.
#define KERNEL_TYPE half
#define SUFFIX half
#include "forward_entry.h"
