// Tiling key 2: what each core of a block does. Elements of two bytes only.
#ifndef CUBOID_ATTENTION_BLOCK_H_
#define CUBOID_ATTENTION_BLOCK_H_

#include "cuboid_attention_cube.h"
#include "cuboid_attention_weights.h"

// The toolkit's wrapper of a kernel for both kinds of cores calls matmul::clearWorkspace and includes nothing
// that declares it.
#if __has_include("lib/matmul_intf.h")
#include "lib/matmul_intf.h"
#else
#include "adv_api/matmul_intf.h"
#endif

namespace cuboid {

// `result` is out, or dqkv; `dout` and `partial` belong to the gradient.
template <typename T, bool kGradient>
__aicore__ inline void RunBlock(const CuboidAttentionTiling& tiling, TPipe* pipe, GM_ADDR qkv, GM_ADDR table,
                                GM_ADDR relative, GM_ADDR dropout, GM_ADDR dout, GM_ADDR result, GM_ADDR partial,
                                GM_ADDR workspace) {
  if constexpr (sizeof(T) == 2) {
    GM_ADDR shared = AscendC::GetUserWorkspace(workspace);
    if ASCEND_IS_AIC {
      CubeSide<T, kGradient> op;
      op.Init(tiling, pipe, qkv, dout, result, shared);
      op.Process();
    }
    if ASCEND_IS_AIV {
      VectorSide<T, kGradient> op;
      op.Init(tiling, pipe, table, relative, dropout, partial, shared);
      op.Process();
    }
  }
}

}  // namespace cuboid

#endif  // CUBOID_ATTENTION_BLOCK_H_
