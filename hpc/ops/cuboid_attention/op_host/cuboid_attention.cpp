// Operator definition, shapes and tiling of the forward operator. Not yet built against a toolkit.
#include "cuboid_attention_host.h"

namespace optiling {

static ge::graphStatus TileCuboidAttention(gert::TilingContext* context) {
  const auto platform = platform_ascendc::PlatformAscendC(context->GetPlatformInfo());
  return cuboid_host::FillTiling(context, platform.GetCoreNumAiv(), false);
}

}  // namespace optiling

namespace ge {

static graphStatus ShapeOfCuboidAttention(gert::InferShapeContext* context) {
  const gert::Shape* qkv = context->GetInputShape(cuboid_host::kQkv);
  gert::Shape* out = context->GetOutputShape(0);
  out->SetDimNum(5);
  for (int axis = 0; axis < 4; ++axis) out->SetDim(axis, qkv->GetDim(axis));
  out->SetDim(4, qkv->GetDim(5) * qkv->GetDim(6));
  return GRAPH_SUCCESS;
}

static graphStatus TypeOfCuboidAttention(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(0, context->GetInputDataType(cuboid_host::kQkv));
  return GRAPH_SUCCESS;
}

}  // namespace ge

namespace ops {

class CuboidAttention : public OpDef {
 public:
  explicit CuboidAttention(const char* name) : OpDef(name) {
    cuboid_host::DescribeOperands(*this);
    this->Output("out")
        .ParamType(REQUIRED)
        .DataType({ge::DT_FLOAT16, ge::DT_BF16, ge::DT_FLOAT})
        .Format({ge::FORMAT_ND, ge::FORMAT_ND, ge::FORMAT_ND});
    cuboid_host::DescribeAttributes(*this);
    this->SetInferShape(ge::ShapeOfCuboidAttention).SetInferDataType(ge::TypeOfCuboidAttention);
    this->AICore().SetTiling(optiling::TileCuboidAttention);
    this->AICore().AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};

OP_ADD(CuboidAttention);

}  // namespace ops
