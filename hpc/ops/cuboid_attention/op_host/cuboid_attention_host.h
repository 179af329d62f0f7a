// What the host sides of forward and gradient share: reading the operands, filling the tiling.
// Built by the toolkit only; the arithmetic is in cuboid_attention_plan.h, which is tested everywhere.
#ifndef CUBOID_ATTENTION_HOST_H_
#define CUBOID_ATTENTION_HOST_H_

#include "cuboid_attention_plan.h"
#include "register/op_def_registry.h"
#include "tiling/platform/platform_ascendc.h"

namespace cuboid_host {

enum Input { kQkv, kTable, kRelative, kMask, kDropout, kDout };
enum Attribute { kCuboid, kShift, kDilated, kScale };

inline bool ReadAxes(const gert::TilingContext* context, Attribute attribute, uint32_t (&axes)[3]) {
  const auto* values = context->GetAttrs()->GetListInt(attribute);
  if (values == nullptr || values->GetSize() != 3) return false;
  for (int axis = 0; axis < 3; ++axis) axes[axis] = static_cast<uint32_t>(values->GetData()[axis]);
  return true;
}

inline bool ReadProblem(gert::TilingContext* context, cuboid_plan::Problem* p) {
  const gert::Shape& qkv = context->GetInputShape(kQkv)->GetStorageShape();
  if (qkv.GetDimNum() != 7 || qkv.GetDim(4) != 3) return false;
  p->batch = static_cast<uint32_t>(qkv.GetDim(0));
  for (int axis = 0; axis < 3; ++axis) p->grid[axis] = static_cast<uint32_t>(qkv.GetDim(1 + axis));
  p->heads = static_cast<uint32_t>(qkv.GetDim(5));
  p->width = static_cast<uint32_t>(qkv.GetDim(6));
  p->relativeRows = static_cast<uint32_t>(context->GetInputShape(kTable)->GetStorageShape().GetDim(0));
  p->elementBytes = context->GetInputDesc(kQkv)->GetDataType() == ge::DT_FLOAT ? 4 : 2;
  p->hasMask = context->GetInputShape(kMask)->GetStorageShape().GetDimNum() == 3;
  p->hasDropout = context->GetInputShape(kDropout)->GetStorageShape().GetDimNum() == 5;
  uint32_t dilated[3];
  if (!ReadAxes(context, kCuboid, p->block) || !ReadAxes(context, kShift, p->shift) ||
      !ReadAxes(context, kDilated, dilated)) {
    return false;
  }
  for (int axis = 0; axis < 3; ++axis) p->dilated[axis] = dilated[axis] != 0;
  p->scale = *context->GetAttrs()->GetFloat(kScale);
  return true;
}

inline ge::graphStatus FillTiling(gert::TilingContext* context, uint32_t cores, bool gradient) {
  cuboid_plan::Problem problem{};
  if (!ReadProblem(context, &problem)) return ge::GRAPH_FAILED;
  if (gradient) problem.partials = context->GetOutputShape(1)->GetStorageShape().GetDim(0);
  auto* tiling = context->GetTilingData<CuboidAttentionTiling>();
  if (tiling == nullptr || cuboid_plan::Plan(problem, cores, gradient, tiling) != nullptr) return ge::GRAPH_FAILED;
  context->SetTilingKey(tiling->key);
  context->SetBlockDim(tiling->key == kCubeKey ? cores / 2 : cores);  // blocks of a cube and two vector cores
  const auto platform = platform_ascendc::PlatformAscendC(context->GetPlatformInfo());
  size_t* workspaces = context->GetWorkspaceSizes(1);
  workspaces[0] = platform.GetLibApiWorkSpaceSize() + cuboid_plan::WorkspaceBytes(*tiling, cores, gradient);
  return ge::GRAPH_SUCCESS;
}

// The operands that both operators have, in the order of Input, and the attributes.
inline void DescribeOperands(ops::OpDef& op) {
  op.Input("qkv")
      .ParamType(ops::REQUIRED)
      .DataType({ge::DT_FLOAT16, ge::DT_BF16, ge::DT_FLOAT})
      .Format({ge::FORMAT_ND, ge::FORMAT_ND, ge::FORMAT_ND});
  op.Input("table")
      .ParamType(ops::REQUIRED)
      .DataType({ge::DT_FLOAT, ge::DT_FLOAT, ge::DT_FLOAT})
      .Format({ge::FORMAT_ND, ge::FORMAT_ND, ge::FORMAT_ND});
  op.Input("relative")
      .ParamType(ops::REQUIRED)
      .DataType({ge::DT_INT32, ge::DT_INT32, ge::DT_INT32})
      .Format({ge::FORMAT_ND, ge::FORMAT_ND, ge::FORMAT_ND});
  op.Input("mask")
      .ParamType(ops::REQUIRED)
      .DataType({ge::DT_FLOAT, ge::DT_FLOAT, ge::DT_FLOAT})
      .Format({ge::FORMAT_ND, ge::FORMAT_ND, ge::FORMAT_ND});
  op.Input("dropout")
      .ParamType(ops::REQUIRED)
      .DataType({ge::DT_FLOAT, ge::DT_FLOAT, ge::DT_FLOAT})
      .Format({ge::FORMAT_ND, ge::FORMAT_ND, ge::FORMAT_ND});
}

inline void DescribeAttributes(ops::OpDef& op) {
  op.Attr("cuboid").AttrType(ops::REQUIRED).ListInt();
  op.Attr("shift").AttrType(ops::REQUIRED).ListInt();
  op.Attr("dilated").AttrType(ops::REQUIRED).ListInt();
  op.Attr("scale").AttrType(ops::REQUIRED).Float();
}

}  // namespace cuboid_host

#endif  // CUBOID_ATTENTION_HOST_H_
