// One vector core: its unified buffer, what is known of every block of it, and the order of events.
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

enum Pipe { kScalar, kVector, kCopyIn, kCopyOut, kPipes };

inline const char* NameOf(int pipe) {
  static const char* const names[] = {"S", "V", "MTE2", "MTE3"};
  return names[pipe];
}

struct Counters {
  std::array<std::uint64_t, kPipes> instructions{}, bytes{};
  std::array<double, kPipes> busy{};  // cycles
  double conflict_cycles = 0;
  std::uint64_t repeats = 0, barriers = 0;
  std::map<std::string, std::uint64_t> repeats_of;
};

using Clock = std::array<std::uint32_t, kPipes>;

// What a flag carries: how far every pipe had come, and when.
struct Stamp {
  Clock clock{};
  double time = 0;
};

class Core {
 public:
  Core(const Device& device, int index, int count)
      : device(device), index(index), count(count), memory(kUnifiedBufferBytes), written(kUnifiedBufferBytes / 2),
        blocks_(kBlocks) {}

  const Device& device;
  const int index, count;
  std::vector<std::uint8_t> memory;
  std::vector<std::uint8_t> written;  // one flag for two bytes
  Counters counters;

  // --- buffers ---------------------------------------------------------------------------------
  int NewBuffer(std::uint32_t bytes, std::uint32_t* address) {
    const std::uint32_t size = (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
    if (bytes == 0) Fail("capacity", "a buffer of 0 bytes");
    if (++buffers_ > kMaxBuffers) Fail("capacity", "more than %d buffers in one TPipe", kMaxBuffers);
    if (top_ + size > kUnifiedBufferBytes) {
      Fail("capacity", "unified buffer: %u + %u bytes exceed %u", top_, size, kUnifiedBufferBytes);
    }
    *address = top_;
    for (std::uint32_t b = top_ / kBlockBytes; b < (top_ + size) / kBlockBytes; ++b) blocks_[b].buffer = buffers_;
    top_ += size;
    return buffers_;
  }

  void SetFree(std::uint32_t address, std::uint32_t bytes, bool free) {
    for (std::uint32_t b = address / kBlockBytes; b < (address + bytes + kBlockBytes - 1) / kBlockBytes; ++b) {
      blocks_[b].free = free;
    }
    if (!free) std::fill(&written[address / 2], &written[(address + bytes) / 2], 0);
  }

  std::uint32_t bytes_in_use() const { return top_; }

  // --- accesses --------------------------------------------------------------------------------
  void Begin(Pipe pipe, const char* name) {
    ++seq_[pipe];
    ++counters.instructions[pipe];
    name_ = name;
  }

  // One block touched by the instruction that began last. `buffer` is the operand's own buffer.
  void Touch(Pipe pipe, std::int64_t address, int buffer, bool write) {
    if (address < 0 || address >= kUnifiedBufferBytes) Fail("bounds", "%s leaves the unified buffer", name_);
    Block& block = blocks_[address / kBlockBytes];
    if (block.buffer != buffer) Fail("bounds", "%s leaves its buffer at byte %ld", name_, long(address));
    if (block.free) Fail("use-after-free", "%s touches a tensor that was freed", name_);
    if (block.writer_seq && (block.writer_pipe != pipe ? known_[pipe][block.writer_pipe] < block.writer_seq
                                                       : NeedsBarrier(pipe, block.writer_seq))) {
      Fail("race", "%s %s byte %ld, which %s wrote (%s); nothing orders them", name_, write ? "writes" : "reads",
           long(address), NameOf(block.writer_pipe), block.writer_name);
    }
    if (write) {
      for (int reader = 0; reader < kPipes; ++reader) {
        if (reader != pipe && block.reader_seq[reader] > known_[pipe][reader]) {
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
    for (std::int64_t half = address / 2; half < (address + bytes + 1) / 2; ++half) {
      if (!written[half]) Fail("uninitialised", "%s reads byte %ld, which nothing wrote", name_, long(half * 2));
    }
  }

  void MarkWritten(std::int64_t address, std::uint32_t bytes) {
    for (std::int64_t half = address / 2; half < (address + bytes + 1) / 2; ++half) written[half] = 1;
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
    stamp.clock[pipe] = seq_[pipe];
    stamp.time = done_[pipe];
    return stamp;
  }

  void Learn(Pipe pipe, const Stamp& stamp) {
    for (int p = 0; p < kPipes; ++p) known_[pipe][p] = std::max(known_[pipe][p], stamp.clock[p]);
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
    Clock reader_seq{};
  };

  // The scalar unit is sequential; on the other pipes a result is there after a barrier only.
  bool NeedsBarrier(Pipe pipe, std::uint32_t writer) const {
    return pipe != kScalar && writer != seq_[pipe] && known_[pipe][pipe] < writer;
  }

  static void CheckId(int id) {
    if (id < 0 || id >= kEventIds) Fail("events", "event id %d is not in 0..%d", id, kEventIds - 1);
  }

  std::vector<Block> blocks_;
  std::uint32_t top_ = 0;
  int buffers_ = 0;
  const char* name_ = "";
  Clock seq_{};
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
