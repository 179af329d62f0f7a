// Included once for each element type: KERNEL_TYPE is half, bfloat16_t or float, SUFFIX names the entry.
#include "run.h"

#define DTYPE_QKV KERNEL_TYPE
#define JOIN_NAMES(a, b) a##b
#define JOINED(a, b) JOIN_NAMES(a, b)
#define cuboid_attention_grad JOINED(cuboid_attention_grad_, SUFFIX)
#include "op_kernel/cuboid_attention_grad.cpp"

int JOINED(Gradient, SUFFIX)(const native::Arguments& a) {
  return emulator::Run(a, true, 7, [&](uint8_t* workspace, uint8_t* tiling) {
    if ASCEND_IS_AIC matmul::clearWorkspace(workspace);  // as the toolkit's wrapper does
    cuboid_attention_grad(a.At<uint8_t>(0), a.At<uint8_t>(1), a.At<uint8_t>(2), a.At<uint8_t>(3), a.At<uint8_t>(4),
                          a.At<uint8_t>(6), a.At<uint8_t>(7), a.At<uint8_t>(8), workspace, tiling);
  });
}
