// The numbers of a device that the emulator enforces and from which it estimates time.
//
// "published": the vendor's public documentation. "measured": fitted on a 910B3 by the authors of the
// public PTO-ISA cost model (include/pto/costmodel/a2a3/cce_costmodel/cce_cycle_profiles.csv and the
// note on vadd, 2.11 cycles a repeat + 24). "assumed": our estimate, to be replaced by what `msprof op`
// measures; docs/kernels.md lists which conclusions hang on them.
#ifndef CUBOID_EMULATOR_DEVICE_H_
#define CUBOID_EMULATOR_DEVICE_H_

#include <cstdint>

namespace emulator {

// Capacities, published. A vector core has the first, a cube core the others.
constexpr std::uint32_t kUnifiedBufferBytes = 192 * 1024;
constexpr std::uint32_t kL1Bytes = 512 * 1024 - 128;  // the toolkit's TPipe keeps the end
constexpr std::uint32_t kL0Bytes = 64 * 1024;  // of each of L0A, L0B
constexpr std::uint32_t kL0CBytes = 128 * 1024;
constexpr std::uint32_t kBlockBytes = 32;                  // published
constexpr std::uint32_t kRepeatBytes = 256;                // published
constexpr int kBankGroups = 16;  // published: consecutive blocks lie in consecutive groups
constexpr int kMaxRepeat = 255;  // published
constexpr int kMaxBurst = 4095;  // published
constexpr int kMaxBuffers = 64;  // published: buffers of one TPipe
constexpr int kEventIds = 8;     // published
constexpr int kCrossCoreIds = 11;   // published: flags between the cores of a block
constexpr int kCrossCoreSets = 15;  // published: of one flag that nothing has waited for
constexpr int kFractal = 16;         // published: a fractal is 16 x 16 elements of two bytes

struct Device {
  const char* name;
  int vector_cores;       // published
  double gigahertz;       // published
  double memory_gb_s;     // published: all cores together
  double issue_cycles;    // assumed: scalar unit, one vector or copy instruction
  double vector_latency;  // measured: start and end of an instruction that others wait for
  double copy_latency;    // assumed: global memory to unified buffer or back
  double burst_cycles;    // assumed: a row of a strided copy
  double scalar_access;   // assumed: GetValue or SetValue on the unified buffer
  // Measured with operands in the same bank groups, 2.13 cycles a repeat of two tensors and 6 of three:
  // what the banks take (see kBankGroups) times
  double add_access;             // of Add, Sub, Mul, Max, Min
  double mul_add_access;         // of MulAddDst
  // Cycles of a repeat, measured:
  double div_cycles;             // in float
  double exp_cycles;             // in float
  double gather_cycles;          // of 4-byte elements
  double whole_reduce_cycles;    // WholeReduceSum, and block reductions in half
  double pair_reduce_cycles;     // assumed
  int cube_cores;                // published
  // Measured: a product takes its start and a cycle for 16 x 16 x 16 pairs of two-byte elements.
  double mmad_start;
  double l0a_bytes;              // a cycle from L1, measured
  double l0b_bytes;              // a cycle from L1, measured
  double cube_latency;           // assumed: from the end of a product or a load to what waits for it
  double cross_core;             // assumed: from a flag of one core to the other core
};

constexpr Device kAscend910B2 = {"Ascend 910B2", 48, 1.8, 1600.0, 8, 24, 500, 2, 12, 1.07, 2, 4, 2, 12, 7, 2,
                                   24, 6, 256, 128, 32, 500};

}  // namespace emulator

#endif  // CUBOID_EMULATOR_DEVICE_H_
