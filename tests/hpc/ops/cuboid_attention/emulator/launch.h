// Runs every core of a launch, one after the other, and adds up what they counted.
#ifndef CUBOID_EMULATOR_LAUNCH_H_
#define CUBOID_EMULATOR_LAUNCH_H_

#include "kernel_operator.h"

namespace emulator {

struct Report {
  double cycles = 0;        // of the slowest core, or of the memory if that takes longer
  double mean_cycles = 0;   // of all cores
  double memory_cycles = 0; // least time for all bytes that move, were all of them to come from memory
  std::uint32_t unified_buffer_bytes = 0;
  Counters total;           // summed over the cores
  Counters slowest;
  Counters slowest_cube;    // where cube cores take part
  double Microseconds(const Device& device) const { return cycles / device.gigahertz / 1000.0; }
};

inline void AddTo(Report* report, const Core& core) {
  Counters& slowest = core.cube() ? report->slowest_cube : report->slowest;
  if (core.cycles() > report->cycles || slowest.instructions[kCopyIn] == 0) slowest = core.counters;
  report->cycles = std::max(report->cycles, core.cycles());
  if (!core.cube()) report->unified_buffer_bytes = std::max(report->unified_buffer_bytes, core.bytes_in_use());
  for (int p = 0; p < kPipes; ++p) {
    report->total.instructions[p] += core.counters.instructions[p];
    report->total.bytes[p] += core.counters.bytes[p];
    report->total.busy[p] += core.counters.busy[p];
  }
  report->total.repeats += core.counters.repeats;
  report->total.conflict_cycles += core.counters.conflict_cycles;
  report->total.barriers += core.counters.barriers;
  for (const auto& [name, repeats] : core.counters.repeats_of) report->total.repeats_of[name] += repeats;
}

// Runs the kernel on vector cores, or on blocks of two vector cores and a cube core.
template <typename Kernel>
Report Launch(const Device& device, int vector_cores, std::vector<Region> regions, const Kernel& kernel,
              bool with_cube = false) {
  Regions() = std::move(regions);
  Report report;
  if (with_cube) {
    for (int index = 0; index < vector_cores / 2; ++index) {
      Block block(device, index, vector_cores / 2, kernel);
      block.Run();
      for (int member = 0; member < kMembers; ++member) {
        report.mean_cycles += block.core(member).cycles() / (kMembers * (vector_cores / 2));
        AddTo(&report, block.core(member));
      }
    }
  } else {
    for (int index = 0; index < vector_cores; ++index) {
      Core core(device, index, vector_cores);
      Current() = &core;
      kernel();
      core.Finish();
      Current() = nullptr;
      report.mean_cycles += core.cycles() / vector_cores;
      AddTo(&report, core);
    }
  }
  const double bytes = report.total.bytes[kCopyIn] + report.total.bytes[kCopyOut] + report.total.bytes[kFix];
  report.memory_cycles = bytes / (device.memory_gb_s / device.gigahertz) + 2 * device.copy_latency;
  report.cycles = std::max(report.cycles, report.memory_cycles);
  for (const Region& region : Regions()) {
    if (region.access != Access::kOutput) continue;
    for (std::size_t pair = 0; pair < region.writer.size(); ++pair) {
      if (region.writer[pair] == 0) Fail("uninitialised", "byte %zu of an output was never written", 2 * pair);
    }
  }
  return report;
}

}  // namespace emulator

#endif  // CUBOID_EMULATOR_LAUNCH_H_
