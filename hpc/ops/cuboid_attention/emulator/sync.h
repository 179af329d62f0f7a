// Flags between pipes and barriers on a pipe.
#ifndef CUBOID_EMULATOR_SYNC_H_
#define CUBOID_EMULATOR_SYNC_H_

#include "queue.h"

namespace AscendC {

namespace detail {

struct Ends {
  emulator::Pipe source, target;
};

constexpr Ends EndsOf(HardEvent event) {
  using namespace emulator;
  switch (event) {
    case HardEvent::MTE2_V: return {kCopyIn, kVector};
    case HardEvent::V_MTE2: return {kVector, kCopyIn};
    case HardEvent::MTE3_V: return {kCopyOut, kVector};
    case HardEvent::V_MTE3: return {kVector, kCopyOut};
    case HardEvent::MTE3_MTE2: return {kCopyOut, kCopyIn};
    case HardEvent::MTE2_MTE3: return {kCopyIn, kCopyOut};
    case HardEvent::S_V: return {kScalar, kVector};
    case HardEvent::V_S: return {kVector, kScalar};
    case HardEvent::S_MTE2: return {kScalar, kCopyIn};
    case HardEvent::MTE2_S: return {kCopyIn, kScalar};
    case HardEvent::S_MTE3: return {kScalar, kCopyOut};
    default: return {kCopyOut, kScalar};
  }
}

}  // namespace detail

template <HardEvent event>
inline void SetFlag(int32_t id) {
  emulator::Current()->SetFlag(static_cast<int>(event), detail::EndsOf(event).source, id);
}

template <HardEvent event>
inline void WaitFlag(int32_t id) {
  emulator::Current()->WaitFlag(static_cast<int>(event), detail::EndsOf(event).target, id);
}

template <pipe_t pipe>
inline void PipeBarrier() {
  static_assert(pipe != PIPE_S, "PipeBarrier<PIPE_S> is not allowed");
  emulator::Core& core = *emulator::Current();
  if (pipe == PIPE_ALL) {
    core.BarrierAll();
  } else {
    core.Barrier(pipe == PIPE_V ? emulator::kVector : pipe == PIPE_MTE2 ? emulator::kCopyIn : emulator::kCopyOut);
  }
}

inline int64_t GetBlockIdx() { return emulator::Current()->index; }
inline int64_t GetBlockNum() { return emulator::Current()->count; }

}  // namespace AscendC

#endif  // CUBOID_EMULATOR_SYNC_H_
