// LocalTensor and GlobalTensor: addresses with a type, a size and, locally, the buffer they belong to.
#ifndef CUBOID_EMULATOR_TENSOR_H_
#define CUBOID_EMULATOR_TENSOR_H_

#include "global_memory.h"
#include "types.h"

namespace AscendC {

template <typename T>
class LocalTensor {
 public:
  LocalTensor() = default;
  LocalTensor(uint32_t address, uint32_t size, int buffer) : address(address), size(size), buffer(buffer) {}

  LocalTensor operator[](const uint32_t offset) const {
    if (offset > size) emulator::Fail("bounds", "offset %u of a tensor of %u elements", offset, size);
    return LocalTensor(address + offset * sizeof(T), size - offset, buffer);
  }

  template <typename U>
  LocalTensor<U> ReinterpretCast() const {
    return LocalTensor<U>(address, size * sizeof(T) / sizeof(U), buffer);
  }

  uint32_t GetSize() const { return size; }

  T GetValue(const uint32_t index) const {
    emulator::Core& core = *emulator::Current();
    const uint32_t at = Access(index, "GetValue", false);
    core.RequireWritten(at, sizeof(T));
    T value;
    std::memcpy(&value, &core.memory[at], sizeof(T));
    return value;
  }

  template <typename S>
  void SetValue(const uint32_t index, const S value) const {
    emulator::Core& core = *emulator::Current();
    const uint32_t at = Access(index, "SetValue", true);
    const T typed = static_cast<T>(value);
    std::memcpy(&core.memory[at], &typed, sizeof(T));
    core.MarkWritten(at, sizeof(T));
  }

  uint32_t address = 0, size = 0;
  int buffer = 0;

 private:
  uint32_t Access(uint32_t index, const char* name, bool write) const {
    emulator::Core& core = *emulator::Current();
    if (index >= size) emulator::Fail("bounds", "%s(%u) of a tensor of %u elements", name, index, size);
    const uint32_t at = address + index * sizeof(T);
    core.Begin(emulator::kScalar, name);
    core.Touch(emulator::kScalar, at, buffer, write);
    core.End(emulator::kScalar, core.device.scalar_access, 0);
    return at;
  }
};

template <typename T>
class GlobalTensor {
 public:
  void SetGlobalBuffer(__gm__ T* buffer, uint64_t size) {
    address = buffer;
    size_ = size;
  }
  void SetGlobalBuffer(__gm__ T* buffer) { SetGlobalBuffer(buffer, ~uint64_t{0}); }

  GlobalTensor operator[](const uint64_t offset) const {
    if (offset > size_) emulator::Fail("bounds", "offset %lu of a global tensor of %lu", (unsigned long)offset, (unsigned long)size_);
    GlobalTensor part;
    part.SetGlobalBuffer(address + offset, size_ == ~uint64_t{0} ? size_ : size_ - offset);
    return part;
  }

  uint64_t GetSize() const { return size_; }

  T GetValue(const uint64_t offset) const {
    emulator::Core& core = *emulator::Current();
    core.Begin(emulator::kScalar, "GlobalTensor::GetValue");
    emulator::CheckGlobalRead(emulator::kScalar, reinterpret_cast<const uint8_t*>(address + offset), sizeof(T));
    core.End(emulator::kScalar, core.device.copy_latency, 0);
    return address[offset];
  }

  __gm__ T* address = nullptr;

 private:
  uint64_t size_ = 0;
};

}  // namespace AscendC

#endif  // CUBOID_EMULATOR_TENSOR_H_
