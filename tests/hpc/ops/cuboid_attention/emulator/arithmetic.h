// Element by element: arithmetic of two tensors, of a tensor and a scalar, of one tensor, and casts.
#ifndef CUBOID_EMULATOR_ARITHMETIC_H_
#define CUBOID_EMULATOR_ARITHMETIC_H_

#include <cmath>
#include <type_traits>

#include "vector.h"

namespace AscendC {

// Overloads that no kernel here uses are declared and deleted: a call that would be ambiguous in the
// toolkit is ambiguous here.
#define EMULATOR_BINARY(NAME, COST, EXPRESSION)                                                             \
  template <typename T, bool isSetMask = true>                                                              \
  inline void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,       \
                   uint64_t mask, const int64_t repeatTime, const BinaryRepeatParams& p) {                  \
    detail::CheckRepeat(repeatTime);                                                                        \
    const auto m = detail::Mask::First(mask, detail::Lanes<T>());                                           \
    detail::Elementwise(#NAME, COST, m, m, repeatTime, detail::Operand<T>(dst, p.dstBlkStride, p.dstRepStride), \
                        [](T, T a, T b) { return static_cast<T>(EXPRESSION); },                             \
                        detail::Operand<T>(src0, p.src0BlkStride, p.src0RepStride),                         \
                        detail::Operand<T>(src1, p.src1BlkStride, p.src1RepStride));                        \
  }                                                                                                         \
  template <typename T, bool isSetMask = true>                                                              \
  inline void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,       \
                   uint64_t mask[], const int64_t repeatTime, const BinaryRepeatParams& p) = delete;        \
  template <typename T>                                                                                     \
  inline void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,       \
                   const int32_t& count) {                                                                  \
    detail::ElementwiseCount(#NAME, COST, count, dst, [](T, T a, T b) { return static_cast<T>(EXPRESSION); }, \
                             src0, src1);                                                                   \
  }

EMULATOR_BINARY(Add, (detail::Cost{1, false, emulator::Current()->device.add_access}), a + b)
EMULATOR_BINARY(Sub, (detail::Cost{1, false, emulator::Current()->device.add_access}), a - b)
EMULATOR_BINARY(Mul, (detail::Cost{1, false, emulator::Current()->device.add_access}), a * b)
EMULATOR_BINARY(Max, (detail::Cost{1, false, emulator::Current()->device.add_access}), a > b ? a : b)
EMULATOR_BINARY(Min, (detail::Cost{1, false, emulator::Current()->device.add_access}), a < b ? a : b)
EMULATOR_BINARY(Div, (detail::Cost{emulator::Current()->device.div_cycles}), a / b)
#undef EMULATOR_BINARY

// dst += src0 * src1. Types: all half, all float, or half sources with a float destination.
template <typename T, typename U, bool isSetMask = true>
inline void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1, uint64_t mask,
                      const int64_t repeatTime, const BinaryRepeatParams& p) {
  static_assert(std::is_same_v<T, U> || (std::is_same_v<T, float> && std::is_same_v<U, half>), "MulAddDst types");
  detail::CheckRepeat(repeatTime);
  const auto m = detail::Mask::First(mask, detail::Lanes<T>());
  detail::Elementwise("MulAddDst", detail::Cost{1, true, emulator::Current()->device.mul_add_access}, m, m, repeatTime,
                      detail::Operand<T>(dst, p.dstBlkStride, p.dstRepStride),
                      [](T old, U a, U b) { return static_cast<T>(old + static_cast<T>(a) * static_cast<T>(b)); },
                      detail::Operand<U>(src0, p.src0BlkStride, p.src0RepStride),
                      detail::Operand<U>(src1, p.src1BlkStride, p.src1RepStride));
}

#define EMULATOR_SCALAR(NAME, EXPRESSION)                                                                   \
  template <typename T, bool isSetMask = true>                                                              \
  inline void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue,              \
                   const int32_t& count) {                                                                  \
    const T b = scalarValue;                                                                                \
    detail::ElementwiseCount(#NAME, detail::Cost{}, count, dst,                                             \
                             [b](T, T a) { return static_cast<T>(EXPRESSION); }, src);                      \
  }                                                                                                         \
  template <typename T, bool isSetMask = true>                                                              \
  inline void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue,              \
                   uint64_t mask, const int64_t repeatTime, const UnaryRepeatParams& p) {                   \
    detail::CheckRepeat(repeatTime);                                                                        \
    const T b = scalarValue;                                                                                \
    const auto m = detail::Mask::First(mask, detail::Lanes<T>());                                           \
    detail::Elementwise(#NAME, detail::Cost{}, m, m, repeatTime,                                            \
                        detail::Operand<T>(dst, p.dstBlkStride, p.dstRepStride),                            \
                        [b](T, T a) { return static_cast<T>(EXPRESSION); },                                 \
                        detail::Operand<T>(src, p.srcBlkStride, p.srcRepStride));                           \
  }

EMULATOR_SCALAR(Adds, a + b)
EMULATOR_SCALAR(Muls, a* b)
EMULATOR_SCALAR(Maxs, a > b ? a : b)
EMULATOR_SCALAR(Mins, a < b ? a : b)
#undef EMULATOR_SCALAR

template <typename T>
inline void Exp(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t& count) {
  detail::ElementwiseCount("Exp", detail::Cost{emulator::Current()->device.exp_cycles}, count, dst,
                           [](T, T a) { return static_cast<T>(std::exp(static_cast<float>(a))); }, src);
}

template <typename T, bool isSetMask = true>
inline void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, uint64_t mask[], const int64_t repeatTime,
                      const int64_t dstBlockStride, const int64_t dstRepeatStride) {
  detail::CheckRepeat(repeatTime);
  const T value = scalarValue;
  const auto m = detail::Mask::Of(mask, detail::Lanes<T>());
  detail::Elementwise("Duplicate", detail::Cost{}, m, m, repeatTime,
                      detail::Operand<T>(dst, detail::InRange(dstBlockStride, 65535, "dstBlockStride"),
                                         detail::InRange(dstRepeatStride, 255, "dstRepeatStride")),
                      [value](T) { return value; });
}

template <typename T, bool isSetMask = true>
inline void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, uint64_t mask, const int64_t repeatTime,
                      const int64_t dstBlockStride, const int64_t dstRepeatStride) = delete;

template <typename T>
inline void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, const int32_t& count) {
  const T value = scalarValue;
  detail::ElementwiseCount("Duplicate", detail::Cost{}, count, dst, [value](T) { return value; });
}

namespace detail {
template <typename T, typename U>
T CastValue(U value, RoundMode mode) {
  if constexpr (std::is_integral_v<T> && !std::is_integral_v<U>) {
    const float x = static_cast<float>(value);
    return static_cast<T>(mode == RoundMode::CAST_FLOOR ? std::floor(x)
                          : mode == RoundMode::CAST_CEIL ? std::ceil(x)
                          : mode == RoundMode::CAST_TRUNC ? std::trunc(x)
                                                          : std::nearbyint(x));
  } else {
    return static_cast<T>(value);
  }
}
}  // namespace detail

template <typename T, typename U>
inline void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode, const uint32_t count) {
  if (sizeof(T) > sizeof(U) && roundMode != RoundMode::CAST_NONE) {
    emulator::Fail("parameter", "Cast: a widening cast takes CAST_NONE");
  }
  const RoundMode mode = roundMode;
  detail::ElementwiseCount("Cast", detail::Cost{}, count, dst, [mode](T, U a) { return detail::CastValue<T>(a, mode); },
                           src);
}

template <typename T, typename U, bool isSetMask = true>
inline void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode, const uint64_t mask,
                 const int64_t repeatTime, const UnaryRepeatParams& p) {
  detail::CheckRepeat(repeatTime);
  if (sizeof(T) > sizeof(U) && roundMode != RoundMode::CAST_NONE) {
    emulator::Fail("parameter", "Cast: a widening cast takes CAST_NONE");
  }
  const RoundMode mode = roundMode;
  const auto m = detail::Mask::First(mask, static_cast<int>(256 / std::max(sizeof(T), sizeof(U))));
  detail::Elementwise("Cast", detail::Cost{}, m, m, repeatTime,
                      detail::Operand<T>(dst, p.dstBlkStride, p.dstRepStride),
                      [mode](T, U a) { return detail::CastValue<T>(a, mode); },
                      detail::Operand<U>(src, p.srcBlkStride, p.srcRepStride));
}

}  // namespace AscendC

#endif  // CUBOID_EMULATOR_ARITHMETIC_H_
