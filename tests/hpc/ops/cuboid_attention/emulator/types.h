// Names, types and parameter structures of the Ascend C interface that kernels here use.
// Parameters that the hardware keeps in 8 or 16 bits are kept wider here and their range is checked.
#ifndef CUBOID_EMULATOR_TYPES_H_
#define CUBOID_EMULATOR_TYPES_H_

#include <cstdint>
#include <cstring>
#include <type_traits>

#include "referee.h"

#define __aicore__
#define __global__
#define __gm__
#define __ubuf__
#define GM_ADDR uint8_t*
#define KERNEL_TASK_TYPE_DEFAULT(type)

// Compilers of the toolkit keep this name for the type, some as a macro: nothing else may be called so.
#define half _Float16

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

enum pipe_t { PIPE_S, PIPE_V, PIPE_M, PIPE_MTE1, PIPE_MTE2, PIPE_MTE3, PIPE_FIX, PIPE_ALL };
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

template <typename T, typename U>
struct IsSameType : std::is_same<T, U> {};

enum class HardEvent : uint8_t {
  MTE2_V, V_MTE2, MTE3_V, V_MTE3, MTE3_MTE2, MTE2_MTE3, S_V, V_S, S_MTE2, MTE2_S, S_MTE3, MTE3_S,
  MTE2_MTE1, MTE1_MTE2, MTE1_M, M_MTE1, M_FIX, FIX_M
};

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

enum class QuantMode_t : uint8_t { NoQuant, F322F16, F322BF16 };

namespace AscendC {

struct Nd2NzParams {
  Nd2NzParams() = default;
  Nd2NzParams(int64_t nd_num, int64_t n, int64_t d, int64_t src_matrix, int64_t src_row, int64_t dst_c0, int64_t dst_n,
              int64_t dst_matrix)
      : ndNum(detail::InRange(nd_num, 4095, "ndNum")),
        nValue(detail::InRange(n, 16384, "nValue")),
        dValue(detail::InRange(d, 65535, "dValue")),
        srcNdMatrixStride(detail::InRange(src_matrix, 65535, "srcNdMatrixStride")),
        srcDValue(detail::InRange(src_row, 65535, "srcDValue")),
        dstNzC0Stride(detail::InRange(dst_c0, 16384, "dstNzC0Stride")),
        dstNzNStride(detail::InRange(dst_n, 16384, "dstNzNStride")),
        dstNzMatrixStride(detail::InRange(dst_matrix, 65535, "dstNzMatrixStride")) {}
  int ndNum = 0, nValue = 0, dValue = 0, srcNdMatrixStride = 0, srcDValue = 0, dstNzC0Stride = 0, dstNzNStride = 0,
      dstNzMatrixStride = 0;
};

struct LoadData2DParams {
  LoadData2DParams() = default;
  LoadData2DParams(int64_t start, int64_t repeat, int64_t src_stride, int64_t /*sid*/, int64_t dst_gap, bool transpose,
                   int64_t /*address mode*/)
      : startIndex(detail::InRange(start, 65535, "startIndex")),
        repeatTimes(detail::InRange(repeat, 255, "repeatTimes")),
        srcStride(detail::InRange(src_stride, 65535, "srcStride")),
        dstGap(detail::InRange(dst_gap, 65535, "dstGap")),
        ifTranspose(transpose) {}
  int startIndex = 0, repeatTimes = 0, srcStride = 0, dstGap = 0;
  bool ifTranspose = false;
};

// Assigned field by field, as the toolkit's examples do.
struct MmadParams {
  uint16_t m = 0, n = 0, k = 0;
  bool cmatrixInitVal = true;
};

enum class CO2Layout : uint8_t { NZ, ROW_MAJOR, COLUMN_MAJOR };
struct FixpipeConfig {
  CO2Layout format;
};
constexpr FixpipeConfig CFG_NZ = {CO2Layout::NZ};
constexpr FixpipeConfig CFG_ROW_MAJOR = {CO2Layout::ROW_MAJOR};

struct FixpipeParamsV220 {
  uint16_t nSize = 0, mSize = 0, srcStride = 0;
  uint32_t dstStride = 0;
  QuantMode_t quantPre = QuantMode_t::NoQuant;
  uint16_t ndNum = 1, srcNdStride = 0, dstNdStride = 0;
};

}  // namespace AscendC

#endif  // CUBOID_EMULATOR_TYPES_H_
