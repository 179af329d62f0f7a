// How any vector instruction runs: repeats of 256 bytes, blocks of 32, masks, strides, bank conflicts.
#ifndef CUBOID_EMULATOR_VECTOR_H_
#define CUBOID_EMULATOR_VECTOR_H_

#include <tuple>

#include "copy.h"

namespace AscendC {
namespace detail {

// Which elements of a repeat take part.
struct Mask {
  uint64_t bits[2] = {0, 0};
  bool operator[](int e) const { return bits[e / 64] >> (e % 64) & 1; }
  static Mask First(int64_t count, int lanes) {
    if (count < 1 || count > lanes) emulator::Fail("parameter", "mask = %ld is not in 1..%d", long(count), lanes);
    Mask mask;
    for (int e = 0; e < count; ++e) mask.bits[e / 64] |= uint64_t{1} << (e % 64);
    return mask;
  }
  static Mask Of(const uint64_t bits[], int lanes) {
    Mask mask;
    mask.bits[0] = bits[0];
    mask.bits[1] = lanes > 64 ? bits[1] : 0;
    if (lanes < 64 && mask.bits[0] >> lanes) emulator::Fail("parameter", "mask has bits beyond %d lanes", lanes);
    if (!mask.bits[0] && !mask.bits[1]) emulator::Fail("parameter", "an empty mask");
    return mask;
  }
};

template <typename T>
struct Operand {
  Operand(const LocalTensor<T>& tensor, int64_t block_stride, int64_t repeat_stride)
      : address(tensor.address), buffer(tensor.buffer), block_stride(block_stride), repeat_stride(repeat_stride) {}
  int64_t address;
  int buffer;
  int64_t block_stride, repeat_stride;  // in blocks

  static constexpr int kPerBlock = emulator::kBlockBytes / sizeof(T);
  int64_t Block(int repeat, int b) const { return address + (repeat * repeat_stride + b * block_stride) * 32; }
  int64_t At(int repeat, int e) const { return Block(repeat, e / kPerBlock) + e % kPerBlock * int64_t{sizeof(T)}; }
};

// Distinct blocks that one repeat wants from each bank group; the fullest group decides its cycles.
class BankLoad {
 public:
  void Add(int64_t address) {
    const int64_t block = address / emulator::kBlockBytes;
    for (int i = 0; i < count_; ++i) {
      if (seen_[i] == block) return;
    }
    seen_[count_++] = block;
    load_[block % emulator::kBankGroups]++;
  }
  int Cycles() const {
    int most = 1;
    for (int load : load_) most = std::max(most, load);
    return most;
  }

 private:
  int64_t seen_[64];
  int count_ = 0;
  int load_[emulator::kBankGroups] = {};
};

template <typename T>
bool Uses(const Mask& mask, int block, int lanes) {
  for (int e = block * Operand<T>::kPerBlock; e < (block + 1) * Operand<T>::kPerBlock && e < lanes; ++e) {
    if (mask[e]) return true;
  }
  return false;
}

template <typename T>
void TouchBlocks(const Operand<T>& operand, int repeat, int lanes, const Mask& mask, bool write, BankLoad* load) {
  emulator::Core& core = *emulator::Current();
  for (int b = 0; b * Operand<T>::kPerBlock < lanes; ++b) {
    if (!Uses<T>(mask, b, lanes)) continue;
    const int64_t at = operand.Block(repeat, b);
    if (!write && core.WrittenByThisInstruction(emulator::kVector, at)) {
      emulator::Fail("overlap", "%s: a repeat reads what an earlier repeat of it wrote", core.current());
    }
    core.Touch(emulator::kVector, at, operand.buffer, write);
    load->Add(at);
  }
}

// Source and destination of one repeat are the same blocks or disjoint.
template <typename D, typename S>
void RequireNoPartialOverlap(const Operand<D>& dst, const Operand<S>& src, int repeat, int lanes,
                             const Mask& mask) {
  for (int d = 0; d * Operand<D>::kPerBlock < lanes; ++d) {
    for (int s = 0; s * Operand<S>::kPerBlock < lanes; ++s) {
      if (!Uses<D>(mask, d, lanes) || !Uses<S>(mask, s, lanes)) continue;
      if (dst.Block(repeat, d) == src.Block(repeat, s) && !(d == s && sizeof(D) == sizeof(S))) {
        emulator::Fail("overlap", "%s: source and destination overlap in part", emulator::Current()->current());
      }
    }
  }
}

struct Cost {
  double cycles = 1;  // of a repeat without conflicts
  bool reads_destination = false;
  double of_access = 1;  // for each cycle that the banks take
};

inline void CheckRepeat(int64_t repeat) { InRange(repeat, emulator::kMaxRepeat, "repeatTime"); }

// dst[e] = f(dst[e], src[e]...) over repeats. `last` masks the last repeat (counted forms have a tail).
template <typename D, typename F, typename... S>
void Elementwise(const char* name, Cost cost, const Mask& mask, const Mask& last, int64_t repeats,
                 const Operand<D>& dst, const F& f, const Operand<S>&... src) {
  emulator::Core& core = *emulator::Current();
  core.Begin(emulator::kVector, name);
  RequireAligned(dst.address, name);
  (RequireAligned(src.address, name), ...);
  constexpr int kWidest = static_cast<int>(std::max({sizeof(D), sizeof(S)...}));
  constexpr int kLanes = static_cast<int>(emulator::kRepeatBytes) / kWidest;
  double cycles = 0;
  for (int r = 0; r < repeats; ++r) {
    const Mask& active = r + 1 == repeats ? last : mask;
    BankLoad reads, writes;
    (TouchBlocks(src, r, kLanes, active, false, &reads), ...);
    (RequireNoPartialOverlap(dst, src, r, kLanes, active), ...);
    if (cost.reads_destination) TouchBlocks(dst, r, kLanes, active, false, &reads);
    TouchBlocks(dst, r, kLanes, active, true, &writes);
    for (int e = 0; e < kLanes; ++e) {
      if (!active[e]) continue;
      (core.RequireWritten(src.At(r, e), sizeof(S)), ...);
      const int64_t at = dst.At(r, e);
      if (cost.reads_destination) core.RequireWritten(at, sizeof(D));
      D old;
      std::memcpy(&old, &core.memory[at], sizeof(D));
      [[maybe_unused]] const auto value = [&](const auto& operand, auto zero) {
        decltype(zero) read;
        std::memcpy(&read, &core.memory[operand.At(r, e)], sizeof(read));
        return read;
      };
      const D result = f(old, value(src, S{})...);
      std::memcpy(&core.memory[at], &result, sizeof(D));
      core.MarkWritten(at, sizeof(D));
    }
    const int slots = std::max(reads.Cycles(), writes.Cycles());
    const double taken = std::max(cost.cycles, slots * cost.of_access);
    core.counters.conflict_cycles += taken - std::max(cost.cycles, cost.of_access);
    cycles += taken;
  }
  core.counters.repeats += repeats;
  core.counters.repeats_of[name] += repeats;
  core.End(emulator::kVector, cycles, core.device.vector_latency);
}

// The counted form: the first `count` elements, contiguous.
template <typename D, typename F, typename... S>
void ElementwiseCount(const char* name, Cost cost, int64_t count, const LocalTensor<D>& dst, const F& f,
                      const LocalTensor<S>&... src) {
  constexpr int kWidest = static_cast<int>(std::max({sizeof(D), sizeof(S)...}));
  constexpr int kLanes = static_cast<int>(emulator::kRepeatBytes) / kWidest;
  if (count <= 0) emulator::Fail("parameter", "%s of %ld elements", name, long(count));
  const int64_t repeats = (count + kLanes - 1) / kLanes;
  Elementwise(name, cost, Mask::First(kLanes, kLanes), Mask::First(count - (repeats - 1) * kLanes, kLanes), repeats,
              Operand<D>(dst, 1, 8 * int64_t{sizeof(D)} / kWidest), f,
              Operand<S>(src, 1, 8 * int64_t{sizeof(S)} / kWidest)...);
}

template <typename T>
constexpr int Lanes() {
  return static_cast<int>(emulator::kRepeatBytes / sizeof(T));
}

}  // namespace detail
}  // namespace AscendC

#endif  // CUBOID_EMULATOR_VECTOR_H_
