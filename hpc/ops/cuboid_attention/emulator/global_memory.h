// The arrays of a launch in global memory, and who may touch them.
#ifndef CUBOID_EMULATOR_GLOBAL_MEMORY_H_
#define CUBOID_EMULATOR_GLOBAL_MEMORY_H_

#include <vector>

#include "referee.h"

namespace emulator {

// An operand. What a launch writes starts as "not written"; two cores must not write the same bytes.
struct Region {
  std::uint8_t* base;
  std::size_t bytes;
  bool output;
  std::vector<std::uint8_t> writer;  // core + 1 that wrote each pair of bytes, 0 before

  Region(void* address, std::size_t bytes, bool output)
      : base(static_cast<std::uint8_t*>(address)), bytes(bytes), output(output),
        writer(output ? (bytes + 1) / 2 : 0) {}
};

inline std::vector<Region>& Regions() {
  thread_local std::vector<Region> regions;
  return regions;
}

inline Region& RegionOf(const std::uint8_t* address, std::size_t bytes) {
  for (Region& region : Regions()) {
    if (address >= region.base && address + bytes <= region.base + region.bytes) return region;
  }
  Fail("bounds", "%s leaves global memory by %zu bytes", Current()->current(), bytes);
}

inline void CheckGlobalRead(const std::uint8_t* address, std::size_t bytes) {
  const Region& region = RegionOf(address, bytes);
  if (!region.output) return;
  const std::size_t first = (address - region.base) / 2;
  for (std::size_t half = first; half < first + (bytes + 1) / 2; ++half) {
    const int writer = region.writer[half];
    if (writer == 0) Fail("uninitialised", "%s reads global memory that nothing wrote", Current()->current());
    if (writer != Current()->index + 1) {
      Fail("race", "%s reads global memory that core %d writes in the same launch", Current()->current(), writer - 1);
    }
  }
}

inline void CheckGlobalWrite(const std::uint8_t* address, std::size_t bytes) {
  Region& region = RegionOf(address, bytes);
  if (!region.output) Fail("bounds", "%s writes an input", Current()->current());
  const int me = Current()->index + 1;
  const std::size_t first = (address - region.base) / 2;
  for (std::size_t half = first; half < first + (bytes + 1) / 2; ++half) {
    if (region.writer[half] != 0 && region.writer[half] != me) {
      Fail("race", "cores %d and %d write the same global memory", region.writer[half] - 1, me - 1);
    }
    region.writer[half] = static_cast<std::uint8_t>(me);
  }
}

}  // namespace emulator

#endif  // CUBOID_EMULATOR_GLOBAL_MEMORY_H_
