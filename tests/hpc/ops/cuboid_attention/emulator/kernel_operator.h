// Stands in for the toolkit's header of this name: the same kernel source compiles with g++ and runs
// under the referee. Written from the public interface documentation of Ascend C.
#ifndef KERNEL_OPERATOR_H_
#define KERNEL_OPERATOR_H_

#include "cube.h"
#include "reduction.h"

#define ASCEND_IS_AIC (emulator::Current()->cube())
#define ASCEND_IS_AIV (!emulator::Current()->cube())
#define KERNEL_TASK_TYPE(key, type)
#define TILING_KEY_IS(key) (emulator::TilingKey() == (key))
#define REGISTER_TILING_DEFAULT(STRUCT)
#define GET_TILING_DATA_WITH_STRUCT(STRUCT, name, address) \
  STRUCT name;                                             \
  std::memcpy(&name, address, sizeof(STRUCT))

namespace emulator {
inline int& TilingKey() {
  static int key = 1;
  return key;
}
}  // namespace emulator

namespace AscendC {
inline GM_ADDR GetUserWorkspace(GM_ADDR workspace) { return workspace; }
}  // namespace AscendC

#endif  // KERNEL_OPERATOR_H_
