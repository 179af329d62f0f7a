// Stands in for the toolkit's header of this name: the same kernel source compiles with g++ and runs
// under the referee. Written from the public interface documentation of Ascend C.
#ifndef KERNEL_OPERATOR_H_
#define KERNEL_OPERATOR_H_

#include "reduction.h"

#define REGISTER_TILING_DEFAULT(STRUCT)
#define GET_TILING_DATA_WITH_STRUCT(STRUCT, name, address) \
  STRUCT name;                                             \
  std::memcpy(&name, address, sizeof(STRUCT))

#endif  // KERNEL_OPERATOR_H_
