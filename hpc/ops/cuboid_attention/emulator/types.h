// Names, types and parameter structures of the Ascend C interface that kernels here use.
// Parameters that the hardware keeps in 8 or 16 bits are kept wider here and their range is checked.
#ifndef CUBOID_EMULATOR_TYPES_H_
#define CUBOID_EMULATOR_TYPES_H_

#include <cstdint>
#include <cstring>

#include "referee.h"

#define __aicore__
#define __global__
#define __gm__
#define __ubuf__
#define GM_ADDR uint8_t*
#define KERNEL_TASK_TYPE_DEFAULT(type)

using half = _Float16;

// Rounds to nearest, ties to even, as CAST_RINT does.
struct bfloat16_t {
  bfloat16_t() = default;
  explicit bfloat16_t(float value) {
    uint32_t wide;
    std::memcpy(&wide, &value, sizeof(wide));
    const bool number = (wide & 0x7fffffffu) <= 0x7f800000u;
    bits = static_cast<uint16_t>((number ? wide + 0x7fffu + (wide >> 16 & 1u) : wide | 0x400000u) >> 16);
  }
  explicit operator float() const {
    const uint32_t wide = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &wide, sizeof(value));
    return value;
  }
  uint16_t bits = 0;
};

enum pipe_t { PIPE_S, PIPE_V, PIPE_MTE2, PIPE_MTE3, PIPE_ALL };
enum event_t : int {
  EVENT_ID0,
  EVENT_ID1,
  EVENT_ID2,
  EVENT_ID3,
  EVENT_ID4,
  EVENT_ID5,
  EVENT_ID6,
  EVENT_ID7
};

namespace AscendC {

enum class TPosition : uint8_t { GM, A1, A2, B1, B2, C1, C2, CO1, CO2, VECIN, VECOUT, VECCALC, LCM };
using QuePosition = TPosition;
using TEventID = int8_t;

enum class HardEvent : uint8_t { MTE2_V, V_MTE2, MTE3_V, V_MTE3, MTE3_MTE2, MTE2_MTE3, S_V, V_S, S_MTE2, MTE2_S, S_MTE3, MTE3_S };

enum class RoundMode : uint8_t { CAST_NONE, CAST_RINT, CAST_FLOOR, CAST_CEIL, CAST_ROUND, CAST_TRUNC };

constexpr uint32_t ONE_BLK_SIZE = 32;

namespace detail {
inline int64_t InRange(int64_t value, int64_t high, const char* what) {
  if (value < 0 || value > high) emulator::Fail("parameter", "%s = %ld is not in 0..%ld", what, long(value), long(high));
  return value;
}
}  // namespace detail

struct UnaryRepeatParams {
  UnaryRepeatParams() = default;
  UnaryRepeatParams(int64_t dst_block, int64_t src_block, int64_t dst_repeat, int64_t src_repeat)
      : dstBlkStride(detail::InRange(dst_block, 65535, "dstBlkStride")),
        srcBlkStride(detail::InRange(src_block, 65535, "srcBlkStride")),
        dstRepStride(detail::InRange(dst_repeat, 255, "dstRepStride")),
        srcRepStride(detail::InRange(src_repeat, 255, "srcRepStride")) {}
  int dstBlkStride = 1, srcBlkStride = 1, dstRepStride = 8, srcRepStride = 8;
};

struct BinaryRepeatParams {
  BinaryRepeatParams() = default;
  BinaryRepeatParams(int64_t dst_block, int64_t src0_block, int64_t src1_block, int64_t dst_repeat,
                     int64_t src0_repeat, int64_t src1_repeat)
      : dstBlkStride(detail::InRange(dst_block, 255, "dstBlkStride")),
        src0BlkStride(detail::InRange(src0_block, 255, "src0BlkStride")),
        src1BlkStride(detail::InRange(src1_block, 255, "src1BlkStride")),
        dstRepStride(detail::InRange(dst_repeat, 255, "dstRepStride")),
        src0RepStride(detail::InRange(src0_repeat, 255, "src0RepStride")),
        src1RepStride(detail::InRange(src1_repeat, 255, "src1RepStride")) {}
  int dstBlkStride = 1, src0BlkStride = 1, src1BlkStride = 1, dstRepStride = 8, src0RepStride = 8,
      src1RepStride = 8;
};

struct BrcbRepeatParams {
  BrcbRepeatParams() = default;
  BrcbRepeatParams(int64_t dst_block, int64_t dst_repeat)
      : dstBlkStride(detail::InRange(dst_block, 65535, "dstBlkStride")),
        dstRepStride(detail::InRange(dst_repeat, 65535, "dstRepStride")) {}
  int dstBlkStride = 1, dstRepStride = 8;
};

struct DataCopyParams {
  DataCopyParams() = default;
  DataCopyParams(int64_t count, int64_t length, int64_t src_gap, int64_t dst_gap)
      : blockCount(detail::InRange(count, emulator::kMaxBurst, "blockCount")),
        blockLen(detail::InRange(length, 65535, "blockLen")),
        srcStride(detail::InRange(src_gap, 65535, "srcStride")),
        dstStride(detail::InRange(dst_gap, 65535, "dstStride")) {}
  int blockCount = 1, blockLen = 0, srcStride = 0, dstStride = 0;
};

struct DataCopyExtParams {
  DataCopyExtParams() = default;
  DataCopyExtParams(int64_t count, int64_t length, int64_t src_gap, int64_t dst_gap, int64_t /*reserved*/)
      : blockCount(detail::InRange(count, emulator::kMaxBurst, "blockCount")),
        blockLen(detail::InRange(length, 2097151, "blockLen")),
        srcStride(detail::InRange(src_gap, 0xffffffff, "srcStride")),
        dstStride(detail::InRange(dst_gap, 0xffffffff, "dstStride")) {}
  int blockCount = 1, blockLen = 0;
  int64_t srcStride = 0, dstStride = 0;
};

template <typename T>
struct DataCopyPadExtParams {
  DataCopyPadExtParams() = default;
  DataCopyPadExtParams(bool pad, int64_t left, int64_t right, T value)
      : isPad(pad), leftPadding(detail::InRange(left, 255, "leftPadding")),
        rightPadding(detail::InRange(right, 255, "rightPadding")), paddingValue(value) {}
  bool isPad = false;
  int leftPadding = 0, rightPadding = 0;
  T paddingValue{};
};

}  // namespace AscendC

#endif  // CUBOID_EMULATOR_TYPES_H_
