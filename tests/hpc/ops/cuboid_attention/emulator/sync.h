// Flags between pipes and barriers on a pipe.
#ifndef CUBOID_EMULATOR_SYNC_H_
#define CUBOID_EMULATOR_SYNC_H_

#include "block.h"
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
    case HardEvent::MTE2_MTE1: return {kCopyIn, kLoad};
    case HardEvent::MTE1_MTE2: return {kLoad, kCopyIn};
    case HardEvent::MTE1_M: return {kLoad, kCube};
    case HardEvent::M_MTE1: return {kCube, kLoad};
    case HardEvent::M_FIX: return {kCube, kFix};
    case HardEvent::FIX_M: return {kFix, kCube};
    default: return {kCopyOut, kScalar};
  }
}

constexpr emulator::Pipe PipeOf(pipe_t pipe) {
  switch (pipe) {
    case PIPE_V: return emulator::kVector;
    case PIPE_M: return emulator::kCube;
    case PIPE_MTE1: return emulator::kLoad;
    case PIPE_MTE2: return emulator::kCopyIn;
    case PIPE_MTE3: return emulator::kCopyOut;
    case PIPE_FIX: return emulator::kFix;
    default: return emulator::kScalar;
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
    core.Barrier(detail::PipeOf(pipe));
  }
}

// Mode 2: from a cube core to both vector cores of its block, or from both of them to the cube core.
template <uint8_t modeId, pipe_t pipe>
inline void CrossCoreSetFlag(uint16_t flagId) {
  static_assert(modeId == 2, "flags between the cores of a block");
  emulator::CurrentBlock()->SetFlag(*emulator::Current(), detail::PipeOf(pipe), flagId);
}

template <uint8_t modeId = 0, pipe_t pipe = PIPE_S>
inline void CrossCoreWaitFlag(uint16_t flagId) {
  static_assert(pipe == PIPE_S, "the form that holds all instructions that follow");
  emulator::CurrentBlock()->WaitFlag(*emulator::Current(), flagId);
}

// A vector core of a block of three has the index 2 * block + member; the number is that of blocks.
inline int64_t GetBlockIdx() { return emulator::Current()->index; }
inline int64_t GetBlockNum() { return emulator::Current()->count; }
inline int64_t GetSubBlockIdx() { return emulator::Current()->cube() ? 0 : emulator::Current()->member; }

}  // namespace AscendC

#endif  // CUBOID_EMULATOR_SYNC_H_
