// One core, vector or cube: its memories, what is known of every block of them, and the order of events.
//
// Instructions take effect at once, in program order. What the real pipes may reorder is judged by
// vector clocks: an instruction may touch a block only if the earlier access that conflicts with it is
// known, on its own pipe, to be complete. A pipe learns that from flags, queues and barriers only.
#ifndef CUBOID_EMULATOR_REFEREE_H_
#define CUBOID_EMULATOR_REFEREE_H_

#include <algorithm>
#include <array>
#include <cstdarg>
#include <cstdio>
#include <functional>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "device.h"

namespace emulator {

// A rule of the hardware or of the programming interface was broken.
struct Violation : std::runtime_error {
  Violation(std::string rule, const std::string& text)
      : std::runtime_error("[" + rule + "] " + text), rule(std::move(rule)) {}
  std::string rule;
};

[[noreturn]] inline void Fail(const char* rule, const char* format, ...) {
  char text[512];
  va_list values;
  va_start(values, format);
  std::vsnprintf(text, sizeof(text), format, values);
  va_end(values);
  throw Violation(rule, text);
}

enum Pipe { kScalar, kVector, kCopyIn, kCopyOut, kLoad, kCube, kFix, kPipes };

inline const char* NameOf(int pipe) {
  static const char* const names[] = {"S", "V", "MTE2", "MTE3", "MTE1", "M", "FIX"};
  return names[pipe];
}

// The memories of a core lie one after the other in its addresses here, each from a multiple of 1024.
enum Space { kUnified, kL1, kL0A, kL0B, kL0C, kSpaces };

inline const char* NameOfSpace(int space) {
  static const char* const names[] = {"unified buffer", "L1", "L0A", "L0B", "L0C"};
  return names[space];
}

// A block of a launch: one core, or two vector cores (members 0 and 1) and a cube core (member 2).
constexpr int kMembers = 3;
constexpr int kCubeMember = 2;

struct Counters {
  std::array<std::uint64_t, kPipes> instructions{}, bytes{};
  std::array<double, kPipes> busy{};  // cycles
  double conflict_cycles = 0;
  std::uint64_t repeats = 0, barriers = 0;
  std::map<std::string, std::uint64_t> repeats_of;
};

// How far the pipes of all members of a block had come.
using Clock = std::array<std::uint32_t, kMembers * kPipes>;

// What a flag carries: how far every pipe had come, and when.
struct Stamp {
  Clock clock{};
  double time = 0;
};

class Core {
 public:
  Core(const Device& device, int index, int count, int member = 0)
      : device(device), index(index), count(count), member(member) {
    const std::uint32_t sizes[kSpaces] = {cube() ? 0 : kUnifiedBufferBytes, cube() ? kL1Bytes : 0,
                                          cube() ? kL0Bytes : 0, cube() ? kL0Bytes : 0, cube() ? kL0CBytes : 0};
    constexpr std::uint32_t kAlign = 1024;
    std::uint32_t end = 0;
    for (int space = 0; space < kSpaces; ++space) {
      top_[space] = begin_[space] = (end + kAlign - 1) / kAlign * kAlign;
      end = end_[space] = begin_[space] + sizes[space];
    }
    memory.resize(end);
    written.resize(end / 2);
    blocks_.resize(end / kBlockBytes);
  }

  const Device& device;
  const int index, count, member;
  bool cube() const { return member == kCubeMember; }
  int writer() const { return cube() ? device.vector_cores + index + 1 : index + 1; }  // in global memory
  void* pipe = nullptr;  // the kernel's TPipe
  std::vector<std::uint8_t> memory;
  std::vector<std::uint8_t> written;  // one flag for two bytes
  Counters counters;

  // --- buffers ---------------------------------------------------------------------------------
  int NewBuffer(Space space, std::uint32_t bytes, std::uint32_t* address) {
    const std::uint32_t size = (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    if (bytes == 0) Fail("capacity", "a buffer of 0 bytes");
    if (++buffers_ > kMaxBuffers) Fail("capacity", "more than %d buffers in one TPipe", kMaxBuffers);
    std::uint32_t& top = top_[space];
    if (begin_[space] == end_[space]) Fail("core", "this core has no %s", NameOfSpace(space));
    if (top + size > end_[space]) {
      Fail("capacity", "%s: %u + %u bytes exceed %u", NameOfSpace(space), bytes_in_use(space), size,
           end_[space] - begin_[space]);
    }
    *address = top;
    for (std::uint32_t b = top / kBlockBytes; b < (top + size) / kBlockBytes; ++b) blocks_[b].buffer = buffers_;
    top += size;
    return buffers_;
  }

  bool IsIn(std::int64_t address, Space space) const { return address >= begin_[space] && address < end_[space]; }
  void RequireSpace(std::int64_t address, Space space) const {
    if (!IsIn(address, space)) Fail("core", "%s: an operand is not in the %s", name_, NameOfSpace(space));
  }

  void SetFree(std::uint32_t address, std::uint32_t bytes, bool free) {
    for (std::uint32_t b = address / kBlockBytes; b < (address + bytes + kBlockBytes - 1) / kBlockBytes; ++b) {
      blocks_[b].free = free;
    }
    if (!free) std::fill(&written[address / 2], &written[(address + bytes) / 2], 0);
  }

  std::uint32_t bytes_in_use(Space space = kUnified) const { return top_[space] - begin_[space]; }

  // --- accesses --------------------------------------------------------------------------------
  void Begin(Pipe pipe, const char* name) {
    ++seq_[pipe];
    ++counters.instructions[pipe];
    name_ = name;
    const bool of_vector = pipe == kVector || pipe == kCopyOut, of_cube = pipe == kLoad || pipe == kCube || pipe == kFix;
    if (cube() ? of_vector : of_cube) Fail("core", "%s on a %s core", name, cube() ? "cube" : "vector");
  }

  // One block touched by the instruction that began last. `buffer` is the operand's own buffer.
  void Touch(Pipe pipe, std::int64_t address, int buffer, bool write) {
    if (address < 0 || address >= std::int64_t(memory.size())) Fail("bounds", "%s leaves the core's memory", name_);
    Block& block = blocks_[address / kBlockBytes];
    if (block.buffer != buffer) Fail("bounds", "%s leaves its buffer at byte %ld", name_, long(address));
    if (block.free) Fail("use-after-free", "%s touches a tensor that was freed", name_);
    if (block.writer_seq && (block.writer_pipe != pipe ? known_[pipe][Global(block.writer_pipe)] < block.writer_seq
                                                       : NeedsBarrier(pipe, block.writer_seq))) {
      Fail("race", "%s %s byte %ld, which %s wrote (%s); nothing orders them", name_, write ? "writes" : "reads",
           long(address), NameOf(block.writer_pipe), block.writer_name);
    }
    if (write) {
      for (int reader = 0; reader < kPipes; ++reader) {
        if (reader != pipe && block.reader_seq[reader] > known_[pipe][Global(reader)]) {
          Fail("race", "%s writes byte %ld while %s may still read it", name_, long(address), NameOf(reader));
        }
      }
      block.writer_pipe = pipe;
      block.writer_seq = seq_[pipe];
      block.writer_name = name_;
    } else {
      block.reader_seq[pipe] = seq_[pipe];
    }
  }

  bool WrittenByThisInstruction(Pipe pipe, std::int64_t address) const {
    const Block& block = blocks_[address / kBlockBytes];
    return block.writer_pipe == pipe && block.writer_seq == seq_[pipe];
  }

  void RequireWritten(std::int64_t address, std::uint32_t bytes) const {
    for (std::int64_t pair = address / 2; pair < (address + bytes + 1) / 2; ++pair) {
      if (!written[pair]) Fail("uninitialised", "%s reads byte %ld, which nothing wrote", name_, long(pair * 2));
    }
  }

  void MarkWritten(std::int64_t address, std::uint32_t bytes) {
    for (std::int64_t pair = address / 2; pair < (address + bytes + 1) / 2; ++pair) written[pair] = 1;
  }

  // --- order and time --------------------------------------------------------------------------
  // Ends an instruction that occupies its pipe for `cycles`; results come `latency` later.
  void End(Pipe pipe, double cycles, double latency) {
    if (pipe == kScalar) {
      now_ += cycles;
      done_[kScalar] = now_;
    } else {
      now_ += device.issue_cycles;
      const double start = std::max({now_, free_[pipe], ready_[pipe]});
      free_[pipe] = start + cycles;
      done_[pipe] = std::max(done_[pipe], free_[pipe] + latency);
    }
    counters.busy[pipe] += cycles;
  }

  Stamp Record(Pipe pipe) const {
    Stamp stamp;
    stamp.clock = known_[pipe];
    stamp.clock[Global(pipe)] = seq_[pipe];
    stamp.time = done_[pipe];
    return stamp;
  }

  void Learn(Pipe pipe, const Stamp& stamp) {
    for (int p = 0; p < kMembers * kPipes; ++p) known_[pipe][p] = std::max(known_[pipe][p], stamp.clock[p]);
    if (pipe == kScalar) {
      now_ = std::max(now_, stamp.time);
    } else {
      ready_[pipe] = std::max(ready_[pipe], stamp.time);
    }
  }

  void Barrier(Pipe pipe) {
    ++counters.barriers;
    Learn(pipe, Record(pipe));
  }

  void BarrierAll() {
    ++counters.barriers;
    for (int target = 0; target < kPipes; ++target) {
      for (int source = 0; source < kPipes; ++source) Learn(Pipe(target), Record(Pipe(source)));
    }
  }

  // What other members of the block learn by a flag between cores, and how this core learns it.
  Stamp RecordForOthers(Pipe pipe) const {
    Stamp stamp = Record(pipe);
    stamp.time += device.cross_core;
    return stamp;
  }
  void LearnFromOthers(const Stamp& stamp) {
    for (int pipe = 0; pipe < kPipes; ++pipe) Learn(Pipe(pipe), stamp);
  }

  int Global(int pipe) const { return member * kPipes + pipe; }
  std::uint32_t sequence(Pipe pipe) const { return seq_[pipe]; }
  bool Knows(Pipe pipe, int global_pipe, std::uint32_t sequence) const {
    return known_[pipe][global_pipe] >= sequence;
  }

  struct Flag {
    bool set = false;
    Stamp stamp;
  };
  std::map<std::pair<int, int>, Flag> flags;  // (event, id)

  void SetFlag(int event, Pipe source, int id) {
    CheckId(id);
    Flag& flag = flags[{event, id}];
    if (flag.set) Fail("events", "flag %d of event %d is set twice without a wait", id, event);
    flag = {true, Record(source)};
  }

  void WaitFlag(int event, Pipe target, int id) {
    CheckId(id);
    Flag& flag = flags[{event, id}];
    if (!flag.set) Fail("events", "flag %d of event %d is waited for and never set: the core hangs", id, event);
    flag.set = false;
    Learn(target, flag.stamp);
  }

  std::vector<std::function<void()>> at_end;  // checks of the queues
  std::array<int, 4> queue_events{};           // ids that the queues hold
  std::map<int, std::uint32_t> allocated_events;  // by event: a bit for each id that AllocEventID gave

  void Finish() const {
    for (const auto& check : at_end) check();
    for (const auto& [key, flag] : flags) {
      if (flag.set) Fail("events", "flag %d of event %d is set and never waited for", key.second, key.first);
    }
  }

  double cycles() const { return std::max(now_, *std::max_element(done_.begin(), done_.end())); }
  const char* current() const { return name_; }

 private:
  struct Block {
    int buffer = 0;
    bool free = false;
    int writer_pipe = 0;
    std::uint32_t writer_seq = 0;
    const char* writer_name = "";
    std::array<std::uint32_t, kPipes> reader_seq{};
  };

  // The scalar unit is sequential; on the other pipes a result is there after a barrier only.
  bool NeedsBarrier(Pipe pipe, std::uint32_t writer) const {
    return pipe != kScalar && writer != seq_[pipe] && known_[pipe][Global(pipe)] < writer;
  }

  static void CheckId(int id) {
    if (id < 0 || id >= kEventIds) Fail("events", "event id %d is not in 0..%d", id, kEventIds - 1);
  }

  std::vector<Block> blocks_;
  std::array<std::uint32_t, kSpaces> begin_{}, end_{}, top_{};
  int buffers_ = 0;
  const char* name_ = "";
  std::array<std::uint32_t, kPipes> seq_{};
  std::array<Clock, kPipes> known_{};
  double now_ = 0;
  std::array<double, kPipes> free_{}, ready_{}, done_{};
};

inline Core*& Current() {
  thread_local Core* core = nullptr;
  return core;
}

}  // namespace emulator

#endif  // CUBOID_EMULATOR_REFEREE_H_
