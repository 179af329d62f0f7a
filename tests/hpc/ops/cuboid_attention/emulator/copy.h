// DataCopy and DataCopyPad between global memory and the unified buffer.
#ifndef CUBOID_EMULATOR_COPY_H_
#define CUBOID_EMULATOR_COPY_H_

#include "sync.h"

namespace AscendC {

namespace detail {

inline void RequireAligned(uint32_t address, const char* name, uint32_t to = emulator::kBlockBytes) {
  if (address % to) emulator::Fail("alignment", "%s: a local address is not a multiple of %u bytes", name, to);
}

inline void TouchRange(emulator::Pipe pipe, int64_t address, int64_t bytes, int buffer, bool write) {
  const int64_t block = emulator::kBlockBytes;
  for (int64_t at = address / block * block; at < address + bytes; at += block) {
    emulator::Current()->Touch(pipe, at, buffer, write);
  }
}

inline void EndCopy(emulator::Pipe pipe, int rows, int64_t bytes) {
  emulator::Core& core = *emulator::Current();
  const int cores = core.cube() ? core.device.cube_cores : core.device.vector_cores;
  const double bytes_per_cycle = core.device.memory_gb_s / core.device.gigahertz / cores;
  core.counters.bytes[pipe] += bytes;
  core.End(pipe, rows * core.device.burst_cycles + bytes / bytes_per_cycle, core.device.copy_latency);
}

}  // namespace detail

template <typename T>
inline void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyExtParams& copy,
                        const DataCopyPadExtParams<T>& pad) {
  emulator::Core& core = *emulator::Current();
  core.Begin(emulator::kCopyIn, "DataCopyPad(in)");
  core.RequireSpace(dst.address, core.cube() ? emulator::kL1 : emulator::kUnified);
  detail::RequireAligned(dst.address, "DataCopyPad");
  const int left = pad.isPad ? pad.leftPadding : 0, right = pad.isPad ? pad.rightPadding : 0;
  if (left * sizeof(T) > 32 || right * sizeof(T) > 32) emulator::Fail("parameter", "DataCopyPad pads more than 32 bytes");
  if (copy.blockLen <= 0 || copy.blockLen % sizeof(T)) emulator::Fail("parameter", "DataCopyPad: blockLen = %d", copy.blockLen);
  const uint8_t* source = reinterpret_cast<const uint8_t*>(src.address);
  int64_t at = dst.address;
  for (int row = 0; row < copy.blockCount; ++row) {
    const emulator::Region& region = emulator::CheckGlobalRead(emulator::kCopyIn, source, copy.blockLen);
    const int64_t used = copy.blockLen + (left + right) * int64_t{sizeof(T)};
    const int64_t padded = (used + 31) / 32 * 32;
    detail::TouchRange(emulator::kCopyIn, at, padded, dst.buffer, true);
    // Bytes up to the next block are undefined unless the caller pads them.
    std::fill(&core.written[at / 2], &core.written[(at + padded) / 2], 0);
    for (int i = 0; i < left + right; ++i) {
      const int64_t where = at + (i < left ? i * int64_t{sizeof(T)} : copy.blockLen + i * int64_t{sizeof(T)});
      std::memcpy(&core.memory[where], &pad.paddingValue, sizeof(T));
    }
    std::memcpy(&core.memory[at + left * sizeof(T)], source, copy.blockLen);
    core.MarkWritten(at, used);
    for (int i = 0; i < copy.blockLen; i += 2) {
      if (!emulator::IsDefined(region, source + i)) core.written[(at + left * sizeof(T) + i) / 2] = 0;
    }
    source += copy.blockLen + copy.srcStride;
    at += padded + copy.dstStride * 32;
  }
  detail::EndCopy(emulator::kCopyIn, copy.blockCount, int64_t{copy.blockLen} * copy.blockCount);
}

template <typename T>
inline void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyExtParams& copy) {
  emulator::Core& core = *emulator::Current();
  core.Begin(emulator::kCopyOut, "DataCopyPad(out)");
  detail::RequireAligned(src.address, "DataCopyPad");
  if (copy.blockLen <= 0 || copy.blockLen % sizeof(T)) emulator::Fail("parameter", "DataCopyPad: blockLen = %d", copy.blockLen);
  uint8_t* target = reinterpret_cast<uint8_t*>(dst.address);
  int64_t at = src.address;
  for (int row = 0; row < copy.blockCount; ++row) {
    detail::TouchRange(emulator::kCopyOut, at, copy.blockLen, src.buffer, false);
    core.RequireWritten(at, copy.blockLen);
    emulator::CheckGlobalWrite(emulator::kCopyOut, target, copy.blockLen);
    std::memcpy(target, &core.memory[at], copy.blockLen);
    target += copy.blockLen + copy.dstStride;
    at += (int64_t{copy.blockLen} + 31) / 32 * 32 + copy.srcStride * 32;
  }
  detail::EndCopy(emulator::kCopyOut, copy.blockCount, int64_t{copy.blockLen} * copy.blockCount);
}

template <typename T>
inline void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyParams& copy) {
  DataCopyPad(dst, src, DataCopyExtParams(copy.blockCount, copy.blockLen * 32, copy.srcStride * 32, copy.dstStride, 0),
              DataCopyPadExtParams<T>());
}

template <typename T>
inline void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& copy) {
  DataCopyPad(dst, src, DataCopyExtParams(copy.blockCount, copy.blockLen * 32, copy.srcStride, copy.dstStride * 32, 0));
}

template <typename T>
inline void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const uint32_t count) {
  if (count * sizeof(T) % 32) emulator::Fail("alignment", "DataCopy of %zu bytes: not whole blocks", count * sizeof(T));
  DataCopyPad(dst, src, DataCopyExtParams(1, count * sizeof(T), 0, 0, 0), DataCopyPadExtParams<T>());
}

template <typename T>
inline void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const uint32_t count) {
  if (count * sizeof(T) % 32) emulator::Fail("alignment", "DataCopy of %zu bytes: not whole blocks", count * sizeof(T));
  DataCopyPad(dst, src, DataCopyExtParams(1, count * sizeof(T), 0, 0, 0));
}

}  // namespace AscendC

#endif  // CUBOID_EMULATOR_COPY_H_
