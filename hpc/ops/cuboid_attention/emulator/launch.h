// Runs every core of a launch, one after the other, and adds up what they counted.
#ifndef CUBOID_EMULATOR_LAUNCH_H_
#define CUBOID_EMULATOR_LAUNCH_H_

#include "kernel_operator.h"

namespace emulator {

struct Report {
  double cycles = 0;        // of the slowest core
  double mean_cycles = 0;   // of all cores
  std::uint32_t unified_buffer_bytes = 0;
  Counters total;           // summed over the cores
  Counters slowest;
  double Microseconds(const Device& device) const { return cycles / device.gigahertz / 1000.0; }
};

template <typename Kernel>
Report Launch(const Device& device, int cores, std::vector<Region> regions, const Kernel& kernel) {
  Regions() = std::move(regions);
  Report report;
  for (int index = 0; index < cores; ++index) {
    Core core(device, index, cores);
    Current() = &core;
    kernel();
    core.Finish();
    Current() = nullptr;
    report.mean_cycles += core.cycles() / cores;
    report.unified_buffer_bytes = std::max(report.unified_buffer_bytes, core.bytes_in_use());
    if (core.cycles() > report.cycles) {
      report.cycles = core.cycles();
      report.slowest = core.counters;
    }
    for (int p = 0; p < kPipes; ++p) {
      report.total.instructions[p] += core.counters.instructions[p];
      report.total.bytes[p] += core.counters.bytes[p];
      report.total.busy[p] += core.counters.busy[p];
    }
    report.total.repeats += core.counters.repeats;
    report.total.conflict_cycles += core.counters.conflict_cycles;
    report.total.barriers += core.counters.barriers;
    for (const auto& [name, repeats] : core.counters.repeats_of) report.total.repeats_of[name] += repeats;
  }
  for (const Region& region : Regions()) {
    if (!region.output) continue;
    for (std::size_t half = 0; half < region.writer.size(); ++half) {
      if (region.writer[half] == 0) Fail("uninitialised", "byte %zu of an output was never written", 2 * half);
    }
  }
  return report;
}

}  // namespace emulator

#endif  // CUBOID_EMULATOR_LAUNCH_H_
