// The numbers of a device that the emulator enforces and from which it estimates time.
//
// "published": the vendor's public documentation. "assumed": our estimate, to be replaced by what
// `msprof op` measures; docs/kernels.md lists which conclusions hang on them.
#ifndef CUBOID_EMULATOR_DEVICE_H_
#define CUBOID_EMULATOR_DEVICE_H_

#include <cstdint>

namespace emulator {

constexpr std::uint32_t kUnifiedBufferBytes = 192 * 1024;  // published
constexpr std::uint32_t kBlockBytes = 32;                  // published
constexpr std::uint32_t kRepeatBytes = 256;                // published
constexpr std::uint32_t kBlocks = kUnifiedBufferBytes / kBlockBytes;
constexpr int kBankGroups = 16;  // published: consecutive blocks lie in consecutive groups
constexpr int kMaxRepeat = 255;  // published
constexpr int kMaxBurst = 4095;  // published
constexpr int kMaxBuffers = 64;  // published: buffers of one TPipe
constexpr int kEventIds = 8;     // published

struct Device {
  const char* name;
  int vector_cores;       // published
  double gigahertz;       // published
  double memory_gb_s;     // published: all cores together
  double issue_cycles;    // assumed: scalar unit, one vector or copy instruction
  double vector_start;    // assumed: of one vector instruction, not overlapped
  double vector_latency;  // assumed: until a dependent instruction may start
  double copy_latency;    // assumed: global memory to unified buffer or back
  double burst_cycles;    // assumed: a row of a strided copy
  double scalar_access;   // assumed: GetValue or SetValue on the unified buffer
  double exp_cycles;      // assumed: a repeat of Exp, Ln, Div, Sqrt in float
  double gather_cycles;   // assumed: a repeat of Gather
};

constexpr Device kAscend910B2 = {"Ascend 910B2", 48, 1.8, 1600.0, 8, 2, 20, 500, 2, 12, 4, 16};

}  // namespace emulator

#endif  // CUBOID_EMULATOR_DEVICE_H_
