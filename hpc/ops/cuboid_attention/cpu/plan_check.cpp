// Lets Python ask, before a graph is built, whether the kernels can take a problem.
#include <cstring>

#include "../op_host/cuboid_attention_plan.h"

// values: batch, grid[3], block[3], shift[3], dilated[3], heads, width, relative rows, bytes of an
// element, mask, dropout, cores. Returns what is wrong with forward or gradient, or an empty text.
extern "C" const char* CuboidAttentionPlanError(const int* values) {
  cuboid_plan::Problem p{};
  p.batch = values[0];
  for (int axis = 0; axis < 3; ++axis) {
    p.grid[axis] = values[1 + axis];
    p.block[axis] = values[4 + axis];
    p.shift[axis] = values[7 + axis];
    p.dilated[axis] = values[10 + axis] != 0;
  }
  p.heads = values[13];
  p.width = values[14];
  p.relativeRows = values[15];
  p.elementBytes = values[16];
  p.hasMask = values[17] != 0;
  p.hasDropout = values[18] != 0;
  CuboidAttentionTiling tiling;
  for (const bool gradient : {false, true}) {
    if (const char* wrong = cuboid_plan::Plan(p, values[19], gradient, &tiling)) return wrong;
  }
  return "";
}
