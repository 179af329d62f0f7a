// Runs the operator's kernels under the emulator on behalf of MindSpore or of a test.
//
// Operands 0..5: qkv [B,T,H,W,3,h,D], table [R,h] float, relative [L,Lp] int32, mask [N,L,Lp] float or
// rank 1, dropout [B,N,h,L,L] float or rank 1, settings int32 [16]: cuboid, shift, dilated (three
// each), cores, and the scale's bits.
#ifndef CUBOID_EMULATOR_RUN_H_
#define CUBOID_EMULATOR_RUN_H_

#include "op_host/cuboid_attention_plan.h"
#include "aot.h"
#include "launch.h"

namespace emulator {

enum Setting { kCuboid = 0, kShift = 3, kDilated = 6, kCores = 9, kScaleBits = 10 };

inline std::string& LastError() {
  static std::string text;
  return text;
}

inline Report& LastReport() {
  static Report report;
  return report;
}

inline cuboid_plan::Problem ReadProblem(const native::Arguments& a) {
  cuboid_plan::Problem p{};
  const std::int32_t* settings = a.At<std::int32_t>(5);
  p.batch = static_cast<uint32_t>(a.Dim(0, 0));
  for (int axis = 0; axis < 3; ++axis) {
    p.grid[axis] = static_cast<uint32_t>(a.Dim(0, 1 + axis));
    p.block[axis] = settings[kCuboid + axis];
    p.shift[axis] = settings[kShift + axis];
    p.dilated[axis] = settings[kDilated + axis] != 0;
  }
  p.heads = static_cast<uint32_t>(a.Dim(0, 5));
  p.width = static_cast<uint32_t>(a.Dim(0, 6));
  p.relativeRows = static_cast<uint32_t>(a.Dim(1, 0));
  p.elementBytes = a.Is(0, "float32") ? 4 : 2;
  p.hasMask = a.ranks[3] == 3;
  p.hasDropout = a.ranks[4] == 5;
  std::memcpy(&p.scale, &settings[kScaleBits], sizeof(float));
  return p;
}

inline std::size_t BytesOf(const native::Arguments& a, int i) {
  const bool narrow = a.Is(i, "float16") || a.Is(i, "bfloat16");
  return a.Size(i) * (narrow ? 2 : 4);
}

// Operands from `first_output` on are written; the rest is read.
// The kernel is called with (workspace, tiling).
template <typename Kernel>
int Run(const native::Arguments& a, bool gradient, int first_output, const Kernel& kernel) {
  try {
    cuboid_plan::Problem problem = ReadProblem(a);
    if (gradient) problem.partials = static_cast<uint32_t>(a.Dim(8, 0));
    const int cores = a.At<std::int32_t>(5)[kCores];
    CuboidAttentionTiling tiling;
    if (const char* wrong = cuboid_plan::Plan(problem, cores, gradient, &tiling)) throw std::runtime_error(wrong);
    std::vector<Region> regions;
    for (int i = 0; i < a.count; ++i) regions.emplace_back(a.data[i], BytesOf(a, i), i >= first_output);
    std::vector<uint8_t> workspace(cuboid_plan::WorkspaceBytes(tiling, cores, gradient));
    if (!workspace.empty()) regions.emplace_back(workspace.data(), workspace.size(), Access::kWorkspace);
    TilingKey() = tiling.key;
    LastReport() = Launch(kAscend910B2, cores, std::move(regions),
                          [&] { kernel(workspace.data(), reinterpret_cast<uint8_t*>(&tiling)); }, tiling.key == kCubeKey);
    const uint32_t planned = cuboid_plan::UnifiedBufferBytes(tiling, problem.elementBytes, gradient);
    if (LastReport().unified_buffer_bytes != planned) {
      throw std::runtime_error("the kernel took " + std::to_string(LastReport().unified_buffer_bytes) +
                               " bytes of the unified buffer where the plan says " + std::to_string(planned));
    }
    return native::kOk;
  } catch (const std::exception& error) {
    LastError() = error.what();
    std::fprintf(stderr, "cuboid attention, emulated: %s\n", error.what());
    return native::kWrongShape;
  }
}

}  // namespace emulator

#endif  // CUBOID_EMULATOR_RUN_H_
