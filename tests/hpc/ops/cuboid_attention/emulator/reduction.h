// Instructions that change the shape: reductions over blocks and repeats, broadcasts, gathers.
#ifndef CUBOID_EMULATOR_REDUCTION_H_
#define CUBOID_EMULATOR_REDUCTION_H_

#include "arithmetic.h"

namespace AscendC {
namespace detail {


// Pairwise, as the hardware adds: neighbours first.
template <typename T, typename Join>
T Tree(std::vector<T> values, const Join& join) {
  while (values.size() > 1) {
    std::vector<T> next;
    for (size_t i = 0; i + 1 < values.size(); i += 2) next.push_back(join(values[i], values[i + 1]));
    if (values.size() % 2) next.push_back(values.back());
    values.swap(next);
  }
  return values[0];
}

// Reduces every `group` of lanes of a repeat; results are written one after the other at
// dst + repeat * dst_step elements.
template <typename T, typename Join>
void Reduce(const char* name, const LocalTensor<T>& dst, const LocalTensor<T>& src, int64_t repeats, int64_t mask,
            int64_t dst_step, int64_t block_stride, int64_t repeat_stride, int group, const Join& join) {
  emulator::Core& core = *emulator::Current();
  core.Begin(emulator::kVector, name);
  CheckRepeat(repeats);
  RequireAligned(src.address, name);
  const size_t alignment = group == Lanes<T>() ? sizeof(T) : std::min<size_t>(32, Lanes<T>() / group * sizeof(T));
  if (dst.address % alignment) {
    emulator::Fail("alignment", "%s: destination address %u", name, dst.address);
  }
  InRange(block_stride, 65535, "srcBlkStride");
  InRange(repeat_stride, 65535, "srcRepStride");
  const double repeat_cycles = group == 2                                                ? core.device.pair_reduce_cycles
                               : group == Operand<T>::kPerBlock && sizeof(T) == sizeof(float) ? 1.0
                                                                              : core.device.whole_reduce_cycles;
  const Mask active = Mask::First(mask, Lanes<T>());
  const Operand<T> from(src, block_stride, repeat_stride);
  double cycles = 0;
  for (int r = 0; r < repeats; ++r) {
    BankLoad reads;
    TouchBlocks(from, r, Lanes<T>(), active, false, &reads);
    int64_t at = dst.address + r * dst_step * int64_t{sizeof(T)};
    for (int first = 0; first < Lanes<T>() && first < mask; first += group) {
      std::vector<T> values;
      for (int e = first; e < first + group && e < mask; ++e) {
        core.RequireWritten(from.At(r, e), sizeof(T));
        T value;
        std::memcpy(&value, &core.memory[from.At(r, e)], sizeof(T));
        values.push_back(value);
      }
      const T result = Tree(values, join);
      // Several repeats may fill one block of results: that is the instruction's own doing, not a race.
      core.Touch(emulator::kVector, at / 32 * 32, dst.buffer, true);
      std::memcpy(&core.memory[at], &result, sizeof(T));
      core.MarkWritten(at, sizeof(T));
      at += sizeof(T);
    }
    core.counters.conflict_cycles += reads.Cycles() - 1;
    cycles += std::max<double>(reads.Cycles(), repeat_cycles);
  }
  core.counters.repeats += repeats;
  core.counters.repeats_of[name] += repeats;
  core.End(emulator::kVector, cycles, core.device.vector_latency);
}

constexpr auto kSum = [](auto a, auto b) { return static_cast<decltype(a)>(a + b); };
constexpr auto kLargest = [](auto a, auto b) { return a > b ? a : b; };

}  // namespace detail

// One result a block; dstRepStride in units of the eight results of a repeat.
template <typename T, bool isSetMask = true>
inline void BlockReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime,
                           const int32_t mask, const int32_t dstRepStride, const int32_t srcBlkStride,
                           const int32_t srcRepStride) {
  detail::Reduce("BlockReduceSum", dst, src, repeatTime, mask, dstRepStride * 8, srcBlkStride, srcRepStride,
                 detail::Operand<T>::kPerBlock, detail::kSum);
}

template <typename T, bool isSetMask = true>
inline void BlockReduceMax(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime,
                           const int32_t mask, const int32_t dstRepStride, const int32_t srcBlkStride,
                           const int32_t srcRepStride) {
  detail::Reduce("BlockReduceMax", dst, src, repeatTime, mask, dstRepStride * 8, srcBlkStride, srcRepStride,
                 detail::Operand<T>::kPerBlock, detail::kLargest);
}

// The sum of every two neighbours; dstRepStride in units of the results of a repeat.
template <typename T, bool isSetMask = true>
inline void PairReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime,
                          const int32_t mask, const int32_t dstRepStride, const int32_t srcBlkStride,
                          const int32_t srcRepStride) {
  detail::Reduce("PairReduceSum", dst, src, repeatTime, mask, dstRepStride * detail::Lanes<T>() / 2, srcBlkStride,
                 srcRepStride, 2, detail::kSum);
}

// One result a repeat; dstRepStride in elements.
template <typename T, bool isSetMask = true>
inline void WholeReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t mask,
                           const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride,
                           const int32_t srcRepStride) {
  detail::Reduce("WholeReduceSum", dst, src, repeatTime, mask, dstRepStride, srcBlkStride, srcRepStride,
                 detail::Lanes<T>(), detail::kSum);
}

// Each of eight elements fills one block.
template <typename T>
inline void Brcb(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const int64_t repeatTime,
                 const BrcbRepeatParams& p) {
  emulator::Core& core = *emulator::Current();
  core.Begin(emulator::kVector, "Brcb");
  detail::CheckRepeat(repeatTime);
  detail::RequireAligned(dst.address, "Brcb");
  detail::RequireAligned(src0.address, "Brcb");
  const int stride = p.dstBlkStride ? p.dstBlkStride : 1;
  double cycles = 0;
  for (int r = 0; r < repeatTime; ++r) {
    detail::BankLoad writes;
    for (int i = 0; i < 8; ++i) {
      const int64_t from = src0.address + (r * 8 + i) * int64_t{sizeof(T)};
      core.Touch(emulator::kVector, from / 32 * 32, src0.buffer, false);
      core.RequireWritten(from, sizeof(T));
      const int64_t to = dst.address + (int64_t{r} * p.dstRepStride + i * stride) * 32;
      core.Touch(emulator::kVector, to, dst.buffer, true);
      writes.Add(to);
      for (int e = 0; e < detail::Operand<T>::kPerBlock; ++e) {
        std::memcpy(&core.memory[to + e * sizeof(T)], &core.memory[from], sizeof(T));
      }
      core.MarkWritten(to, 32);
    }
    core.counters.conflict_cycles += writes.Cycles() - 1;
    cycles += writes.Cycles();
  }
  core.counters.repeats += repeatTime;
  core.counters.repeats_of["Brcb"] += repeatTime;
  core.End(emulator::kVector, cycles, core.device.vector_latency);
}

// dst[i] = src at byte srcBaseAddr + srcOffset[i].
template <typename T>
inline void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
                   const uint32_t srcBaseAddr, const uint32_t count) {
  emulator::Core& core = *emulator::Current();
  detail::RequireAligned(src.address, "Gather");
  const int buffer = src.buffer;
  const int64_t base = src.address + int64_t{srcBaseAddr};
  detail::ElementwiseCount("Gather", detail::Cost{core.device.gather_cycles}, count, dst,
                           [&core, base, buffer](T, uint32_t offset) {
                             if (offset % sizeof(T)) emulator::Fail("alignment", "Gather: offset %u", offset);
                             core.Touch(emulator::kVector, (base + offset) / 32 * 32, buffer, false);
                             core.RequireWritten(base + offset, sizeof(T));
                             T value;
                             std::memcpy(&value, &core.memory[base + offset], sizeof(T));
                             return value;
                           },
                           srcOffset);
}

}  // namespace AscendC

#endif  // CUBOID_EMULATOR_REDUCTION_H_
