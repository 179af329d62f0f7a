// Operator definition, shapes and tiling of the gradient. Not yet built against a toolkit.
//
// The first size of the output `partial`, which the caller chooses, is the largest number of cores: a core
// adds up into its own slice, and slices without a core become 0.
#include "cuboid_attention_host.h"

namespace optiling {

static ge::graphStatus TileCuboidAttentionGrad(gert::TilingContext* context) {
  const gert::Shape& partial = context->GetOutputShape(1)->GetStorageShape();
  const auto platform = platform_ascendc::PlatformAscendC(context->GetPlatformInfo());
  const uint32_t slices = static_cast<uint32_t>(partial.GetDim(0)), cores = platform.GetCoreNumAiv();
  if (slices == 0) return ge::GRAPH_FAILED;
  return cuboid_host::FillTiling(context, slices < cores ? slices : cores, true);
}

}  // namespace optiling

namespace ge {

static graphStatus TypeOfCuboidAttentionGrad(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(0, context->GetInputDataType(cuboid_host::kQkv));
  context->SetOutputDataType(1, DT_FLOAT);
  return GRAPH_SUCCESS;
}

}  // namespace ge

namespace ops {

class CuboidAttentionGrad : public OpDef {
 public:
  explicit CuboidAttentionGrad(const char* name) : OpDef(name) {
    cuboid_host::DescribeOperands(*this);
    this->Input("dout")
        .ParamType(REQUIRED)
        .DataType({ge::DT_FLOAT16, ge::DT_BF16, ge::DT_FLOAT})
        .Format({ge::FORMAT_ND, ge::FORMAT_ND, ge::FORMAT_ND});
    this->Output("dqkv")
        .ParamType(REQUIRED)
        .DataType({ge::DT_FLOAT16, ge::DT_BF16, ge::DT_FLOAT})
        .Format({ge::FORMAT_ND, ge::FORMAT_ND, ge::FORMAT_ND});
    this->Output("partial")
        .ParamType(REQUIRED)
        .DataType({ge::DT_FLOAT, ge::DT_FLOAT, ge::DT_FLOAT})
        .Format({ge::FORMAT_ND, ge::FORMAT_ND, ge::FORMAT_ND});
    cuboid_host::DescribeAttributes(*this);
    this->SetInferDataType(ge::TypeOfCuboidAttentionGrad);
    this->AICore().SetTiling(optiling::TileCuboidAttentionGrad);
    this->AICore().AddConfig("ascend910b").AddConfig("ascend910_93");
  }
};

OP_ADD(CuboidAttentionGrad);

}  // namespace ops
