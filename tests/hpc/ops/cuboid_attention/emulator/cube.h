// The cube core: rows into fractals of L1, fractals into L0A and L0B, products into L0C, and out again.
// What nothing wrote travels along and may not become part of a product or of an output.
#ifndef CUBOID_EMULATOR_CUBE_H_
#define CUBOID_EMULATOR_CUBE_H_

#include "copy.h"

namespace AscendC {
namespace detail {

constexpr int kFractalBytes = 512;

inline void CopyDefined(emulator::Core& core, int64_t to, int64_t from, int bytes) {
  std::memcpy(&core.memory[to], &core.memory[from], bytes);
  std::copy_n(&core.written[from / 2], bytes / 2, &core.written[to / 2]);
}

}  // namespace detail

// Row-major matrices in global memory -> fractals in L1: element (n, d) of a matrix goes to row
// n * dstNzNStride of column d / 16 * dstNzC0Stride, in rows of 32 bytes.
template <typename T>
inline void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const Nd2NzParams& p) {
  static_assert(sizeof(T) == 2, "elements of two bytes");
  emulator::Core& core = *emulator::Current();
  core.Begin(emulator::kCopyIn, "DataCopy(nd2nz)");
  core.RequireSpace(dst.address, emulator::kL1);
  detail::RequireAligned(dst.address, "DataCopy(nd2nz)");
  if (p.dstNzC0Stride == 0 || p.dstNzNStride == 0) emulator::Fail("parameter", "DataCopy(nd2nz): a stride of 0");
  if (p.nValue > 1 && p.srcDValue < p.dValue) emulator::Fail("parameter", "DataCopy(nd2nz): rows overlap");
  constexpr int kLanes = emulator::kFractal;
  for (int matrix = 0; matrix < p.ndNum; ++matrix) {
    for (int n = 0; n < p.nValue; ++n) {
      const T* row = src.address + int64_t{matrix} * p.srcNdMatrixStride + int64_t{n} * p.srcDValue;
      const uint8_t* from = reinterpret_cast<const uint8_t*>(row);
      const emulator::Region& region = emulator::CheckGlobalRead(emulator::kCopyIn, from, p.dValue * sizeof(T));
      for (int d = 0; d < p.dValue; d += kLanes) {
        const int64_t at = dst.address + int64_t{matrix} * p.dstNzMatrixStride * int64_t{sizeof(T)} +
                           (int64_t{d / kLanes} * p.dstNzC0Stride + int64_t{n} * p.dstNzNStride) * 32;
        core.Touch(emulator::kCopyIn, at, dst.buffer, true);
        for (int i = 0; i < kLanes; ++i) {
          const T value = d + i < p.dValue ? row[d + i] : T{};
          std::memcpy(&core.memory[at + 2 * i], &value, 2);
          core.written[at / 2 + i] = d + i >= p.dValue || emulator::IsDefined(region, from + 2 * (d + i));
        }
      }
    }
  }
  detail::EndCopy(emulator::kCopyIn, p.ndNum * p.nValue, int64_t{p.ndNum} * p.nValue * p.dValue * sizeof(T));
}

// Fractals of L1 -> L0A or L0B, each as it is or transposed.
template <typename T>
inline void LoadData(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LoadData2DParams& p) {
  static_assert(sizeof(T) == 2, "elements of two bytes");
  emulator::Core& core = *emulator::Current();
  core.Begin(emulator::kLoad, "LoadData");
  core.RequireSpace(src.address, emulator::kL1);
  const bool left = core.IsIn(dst.address, emulator::kL0A);
  if (!left) core.RequireSpace(dst.address, emulator::kL0B);
  detail::RequireAligned(dst.address, "LoadData", detail::kFractalBytes);
  detail::RequireAligned(src.address, "LoadData");
  if (p.repeatTimes == 0) emulator::Fail("parameter", "LoadData: repeatTimes = 0");
  for (int r = 0; r < p.repeatTimes; ++r) {
    const int64_t from = src.address + (int64_t{p.startIndex} + int64_t{r} * p.srcStride) * detail::kFractalBytes;
    const int64_t to = dst.address + int64_t{r} * (p.dstGap + 1) * detail::kFractalBytes;
    detail::TouchRange(emulator::kLoad, from, detail::kFractalBytes, src.buffer, false);
    detail::TouchRange(emulator::kLoad, to, detail::kFractalBytes, dst.buffer, true);
    if (!p.ifTranspose) {
      detail::CopyDefined(core, to, from, detail::kFractalBytes);
      continue;
    }
    for (int i = 0; i < emulator::kFractal; ++i) {
      for (int j = 0; j < emulator::kFractal; ++j) {
        detail::CopyDefined(core, to + (j * emulator::kFractal + i) * 2, from + (i * emulator::kFractal + j) * 2, 2);
      }
    }
  }
  core.counters.bytes[emulator::kLoad] += p.repeatTimes * detail::kFractalBytes;
  const double bytes_per_cycle = left ? core.device.l0a_bytes : core.device.l0b_bytes;
  core.End(emulator::kLoad, p.repeatTimes * detail::kFractalBytes / bytes_per_cycle, core.device.cube_latency);
}

// C [m, n] = A [m, k] B [k, n]. A: fractals by rows, rows inside; B: fractals by rows, columns inside;
// C: fractals by columns, rows inside. What lies beyond k takes no part; what lies beyond m and n is
// computed and means nothing.
template <typename T, typename U, typename S>
inline void Mmad(const LocalTensor<T>& dst, const LocalTensor<U>& left, const LocalTensor<S>& right,
                 const MmadParams& p) {
  static_assert(std::is_same_v<T, float> && std::is_same_v<U, S> && sizeof(U) == 2, "Mmad types");
  emulator::Core& core = *emulator::Current();
  core.Begin(emulator::kCube, "Mmad");
  core.RequireSpace(dst.address, emulator::kL0C);
  core.RequireSpace(left.address, emulator::kL0A);
  core.RequireSpace(right.address, emulator::kL0B);
  detail::RequireAligned(dst.address, "Mmad", 1024);
  detail::RequireAligned(left.address, "Mmad", detail::kFractalBytes);
  detail::RequireAligned(right.address, "Mmad", detail::kFractalBytes);
  detail::InRange(p.m, 4095, "m");
  if (p.m < 2 || p.n == 0 || p.k == 0) {
    emulator::Fail("parameter", "Mmad of m = %d, n = %d, k = %d (1 row is a vector)", p.m, p.n, p.k);
  }
  if (!p.cmatrixInitVal) emulator::Fail("parameter", "Mmad that adds to C is not modelled");
  constexpr int kF = emulator::kFractal;
  const int ms = (p.m + kF - 1) / kF, ns = (p.n + kF - 1) / kF, ks = (p.k + kF - 1) / kF;
  detail::TouchRange(emulator::kCube, left.address, int64_t{ms} * ks * detail::kFractalBytes, left.buffer, false);
  detail::TouchRange(emulator::kCube, right.address, int64_t{ks} * ns * detail::kFractalBytes, right.buffer, false);
  detail::TouchRange(emulator::kCube, dst.address, int64_t{ms} * ns * 2 * detail::kFractalBytes, dst.buffer, true);
  // Operands as float, with what is undefined marked.
  std::vector<float> a(ms * kF * p.k), b(p.k * ns * kF);
  std::vector<char> a_defined(ms * kF, 1), b_defined(ns * kF, 1);
  const auto read = [&core](int64_t at, char* defined) {
    U value;
    std::memcpy(&value, &core.memory[at], sizeof(U));
    if (!core.written[at / 2]) *defined = 0;
    return static_cast<float>(value);
  };
  for (int k = 0; k < p.k; ++k) {
    for (int m = 0; m < ms * kF; ++m) {
      const int64_t fractal = int64_t{m / kF} * ks + k / kF;
      a[m * p.k + k] = read(left.address + fractal * detail::kFractalBytes + (m % kF * kF + k % kF) * 2, &a_defined[m]);
    }
    for (int n = 0; n < ns * kF; ++n) {
      const int64_t fractal = int64_t{k / kF} * ns + n / kF;
      const int64_t at = right.address + fractal * detail::kFractalBytes + (n % kF * kF + k % kF) * 2;
      b[k * ns * kF + n] = read(at, &b_defined[n]);
    }
  }
  std::vector<float> row(ns * kF);
  for (int m = 0; m < ms * kF; ++m) {
    std::fill(row.begin(), row.end(), 0.0f);
    for (int k = 0; k < p.k; ++k) {
      for (int n = 0; n < ns * kF; ++n) row[n] += a[m * p.k + k] * b[k * ns * kF + n];
    }
    for (int n = 0; n < ns * kF; ++n) {
      const int64_t at = dst.address + (int64_t{n / kF} * ms * kF + m) * kF * 4 + n % kF * 4;
      std::memcpy(&core.memory[at], &row[n], 4);
      core.written[at / 2] = core.written[at / 2 + 1] = a_defined[m] && b_defined[n];
    }
  }
  core.counters.repeats_of["Mmad fractals"] += ms * ns * ks;
  core.End(emulator::kCube, core.device.mmad_start + double(ms) * ns * ks, core.device.cube_latency);
}

namespace detail {
template <typename T>
constexpr QuantMode_t QuantOf() {
  if constexpr (std::is_same_v<T, half>) return QuantMode_t::F322F16;
  if constexpr (std::is_same_v<T, bfloat16_t>) return QuantMode_t::F322BF16;
  return QuantMode_t::NoQuant;
}
}  // namespace detail

// Fractals of L0C -> rows of a row-major matrix in global memory, rounded to T.
template <typename T, typename U, const FixpipeConfig& config = CFG_ROW_MAJOR>
inline void Fixpipe(const GlobalTensor<T>& dst, const LocalTensor<U>& src, const FixpipeParamsV220& p) {
  static_assert(std::is_same_v<U, float> && config.format == CO2Layout::ROW_MAJOR, "float to rows");
  emulator::Core& core = *emulator::Current();
  core.Begin(emulator::kFix, "Fixpipe");
  core.RequireSpace(src.address, emulator::kL0C);
  detail::RequireAligned(src.address, "Fixpipe", 64);
  detail::InRange(p.nSize, 4095, "nSize");
  detail::InRange(p.mSize, 8192, "mSize");
  if (p.nSize == 0 || p.mSize == 0 || p.ndNum != 1) {
    emulator::Fail("parameter", "Fixpipe of %d x %d, %d matrices", p.mSize, p.nSize, p.ndNum);
  }
  if (p.quantPre != detail::QuantOf<T>()) {
    emulator::Fail("parameter", "Fixpipe: quantPre does not give the type of the output");
  }
  for (int m = 0; m < p.mSize; ++m) {
    uint8_t* row = reinterpret_cast<uint8_t*>(dst.address + int64_t{m} * p.dstStride);
    emulator::Region& region = emulator::CheckGlobalWrite(emulator::kFix, row, p.nSize * sizeof(T));
    for (int n = 0; n < p.nSize; ++n) {
      const int64_t column = int64_t{n / emulator::kFractal} * p.srcStride;
      const int64_t at = src.address + (column + m) * 64 + n % emulator::kFractal * 4;
      if (n % 8 == 0) core.Touch(emulator::kFix, at, src.buffer, false);
      float value;
      std::memcpy(&value, &core.memory[at], 4);
      const T rounded = static_cast<T>(value);
      std::memcpy(row + n * sizeof(T), &rounded, sizeof(T));
      if (core.written[at / 2]) continue;
      if (region.access == emulator::Access::kOutput) core.RequireWritten(at, 4);
      for (size_t byte = 0; byte < sizeof(T); byte += 2) emulator::MarkUndefined(region, row + n * sizeof(T) + byte);
    }
  }
  detail::EndCopy(emulator::kFix, p.mSize, int64_t{p.mSize} * p.nSize * sizeof(T));
}

}  // namespace AscendC

#endif  // CUBOID_EMULATOR_CUBE_H_
