// The arrays of a launch in global memory, and who may touch them.
#ifndef CUBOID_EMULATOR_GLOBAL_MEMORY_H_
#define CUBOID_EMULATOR_GLOBAL_MEMORY_H_

#include <vector>

#include "referee.h"

namespace emulator {

// Of a block of 32 bytes of the workspace: who of a block of cores wrote it last, and who read it since.
struct Exchange {
  int block = -1;  // of the launch
  int writer_pipe = 0;
  std::uint32_t writer_seq = 0;
  Clock reader_seq{};
};

enum class Access { kInput, kOutput, kWorkspace };

// An operand. What a launch writes starts as "not written"; two cores must not write the same bytes of
// an output. Cores of one block exchange data by the workspace, in an order that flags must give.
struct Region {
  std::uint8_t* base;
  std::size_t bytes;
  Access access;
  std::vector<std::uint8_t> writer;  // of each pair of bytes, 0 before (and of what is undefined)
  std::vector<Exchange> exchanges;

  Region(void* address, std::size_t bytes, bool output)
      : Region(address, bytes, output ? Access::kOutput : Access::kInput) {}
  Region(void* address, std::size_t bytes, Access access)
      : base(static_cast<std::uint8_t*>(address)), bytes(bytes), access(access),
        writer(access == Access::kInput ? 0 : (bytes + 1) / 2),
        exchanges(access == Access::kWorkspace ? (bytes + kBlockBytes - 1) / kBlockBytes : 0) {}
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

// The blocks of the workspace that an access touches, checked against the earlier ones.
inline void CheckExchange(Region& region, Pipe pipe, const std::uint8_t* address, std::size_t bytes, bool write) {
  const Core& core = *Current();
  const int block = core.cube() ? core.index : core.index / 2;
  const std::size_t first = (address - region.base) / kBlockBytes;
  for (std::size_t b = first; b <= std::size_t(address + bytes - 1 - region.base) / kBlockBytes; ++b) {
    Exchange& cell = region.exchanges[b];
    if (cell.block >= 0 && cell.block != block) {
      Fail("race", "%s: blocks %d and %d share the workspace", core.current(), cell.block, block);
    }
    cell.block = block;
    const bool own = cell.writer_pipe == core.Global(pipe);
    if (cell.writer_seq && !own && !core.Knows(pipe, cell.writer_pipe, cell.writer_seq)) {
      Fail("race", "%s %s a part of the workspace that another pipe wrote; nothing orders them", core.current(),
           write ? "writes" : "reads");
    }
    if (!write) {
      cell.reader_seq[core.Global(pipe)] = core.sequence(pipe);
      continue;
    }
    for (int reader = 0; reader < kMembers * kPipes; ++reader) {
      if (reader != core.Global(pipe) && !core.Knows(pipe, reader, cell.reader_seq[reader])) {
        Fail("race", "%s writes a part of the workspace that another pipe may still read", core.current());
      }
    }
    cell.writer_pipe = core.Global(pipe);
    cell.writer_seq = core.sequence(pipe);
  }
}

// Whether the pair of bytes is defined. Only the workspace may hold what is not.
inline bool IsDefined(const Region& region, const std::uint8_t* address) {
  return region.access != Access::kWorkspace || region.writer[(address - region.base) / 2] != 0;
}

inline Region& CheckGlobalRead(Pipe pipe, const std::uint8_t* address, std::size_t bytes) {
  Region& region = RegionOf(address, bytes);
  if (region.access == Access::kWorkspace) CheckExchange(region, pipe, address, bytes, false);
  if (region.access != Access::kOutput) return region;
  const std::size_t first = (address - region.base) / 2;
  for (std::size_t pair = first; pair < first + (bytes + 1) / 2; ++pair) {
    const int writer = region.writer[pair];
    if (writer == 0) Fail("uninitialised", "%s reads global memory that nothing wrote", Current()->current());
    if (writer != Current()->writer()) {
      Fail("race", "%s reads global memory that core %d writes in the same launch", Current()->current(), writer - 1);
    }
  }
  return region;
}

inline Region& CheckGlobalWrite(Pipe pipe, const std::uint8_t* address, std::size_t bytes) {
  Region& region = RegionOf(address, bytes);
  if (region.access == Access::kInput) Fail("bounds", "%s writes an input", Current()->current());
  if (region.access == Access::kWorkspace) CheckExchange(region, pipe, address, bytes, true);
  const int me = Current()->writer();
  const std::size_t first = (address - region.base) / 2;
  for (std::size_t pair = first; pair < first + (bytes + 1) / 2; ++pair) {
    if (region.access == Access::kOutput && region.writer[pair] != 0 && region.writer[pair] != me) {
      Fail("race", "cores %d and %d write the same global memory", region.writer[pair] - 1, me - 1);
    }
    region.writer[pair] = static_cast<std::uint8_t>(me);
  }
  return region;
}

inline void MarkUndefined(Region& region, const std::uint8_t* address) {
  region.writer[(address - region.base) / 2] = 0;
}

}  // namespace emulator

#endif  // CUBOID_EMULATOR_GLOBAL_MEMORY_H_
