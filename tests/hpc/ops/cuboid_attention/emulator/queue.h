// TPipe, TQue and TBuf: buffers, their life, and the flags that queues set and wait for by themselves.
#ifndef CUBOID_EMULATOR_QUEUE_H_
#define CUBOID_EMULATOR_QUEUE_H_

#include <deque>
#include <memory>
#include <vector>

#include "tensor.h"

namespace AscendC {

class TPipe;

namespace detail {

struct Slot {
  enum State { kFree, kAllocated, kQueued, kTaken };
  uint32_t address = 0, bytes = 0;
  int buffer = 0;
  State state = kFree;
  bool was_freed = false;  // and holds an event until it is allocated again
  emulator::Stamp freed, filled;
};

// Lives as long as the core, which asks at its end whether anything was left in the queue.
struct QueueState {
  std::vector<Slot> slots;
  std::deque<int> order;
  std::size_t next = 0;  // slot that an allocation tries first

  void Finish() const {
    if (!order.empty()) emulator::Fail("queue", "%zu tensors are left in a queue", order.size());
    for (const Slot& slot : slots) {
      if (slot.state != Slot::kFree) emulator::Fail("queue", "a tensor was never freed");
    }
  }
};

}  // namespace detail

template <TPosition position, int32_t depth, auto mask = 0>
class TQue {
  static_assert(position == TPosition::VECIN || position == TPosition::VECOUT, "a queue joins a copy pipe and V");
  static constexpr emulator::Pipe kProducer = position == TPosition::VECIN ? emulator::kCopyIn : emulator::kVector;
  static constexpr emulator::Pipe kConsumer = position == TPosition::VECIN ? emulator::kVector : emulator::kCopyOut;

 public:
  template <typename T>
  LocalTensor<T> AllocTensor() {
    // In turn, as the toolkit does: the buffer that was freed longest ago comes first.
    for (std::size_t tried = 0; tried < state_->slots.size(); ++tried) {
      detail::Slot& slot = state_->slots[state_->next++ % state_->slots.size()];
      if (slot.state != detail::Slot::kFree) continue;
      slot.state = detail::Slot::kAllocated;
      if (slot.was_freed) --QueueEvents(kFreed);
      slot.was_freed = false;
      emulator::Core& core = *emulator::Current();
      core.Learn(kProducer, slot.freed);
      core.SetFree(slot.address, slot.bytes, false);
      return LocalTensor<T>(slot.address, slot.bytes / sizeof(T), slot.buffer);
    }
    emulator::Fail("queue", "AllocTensor: all %zu buffers are in use: the core hangs", state_->slots.size());
  }

  template <typename T>
  bool EnQue(const LocalTensor<T>& tensor) {
    detail::Slot& slot = SlotOf(tensor.buffer, "EnQue");
    if (slot.state != detail::Slot::kAllocated) emulator::Fail("queue", "EnQue of a tensor that is not allocated");
    if (static_cast<int32_t>(state_->order.size()) >= depth) emulator::Fail("queue", "EnQue: more than %d tensors in the queue", depth);
    TakeEvent(QueueEvents(kFilled), "EnQue");
    slot.state = detail::Slot::kQueued;
    slot.filled = emulator::Current()->Record(kProducer);
    state_->order.push_back(tensor.buffer);
    return true;
  }

  template <typename T>
  LocalTensor<T> DeQue() {
    if (state_->order.empty()) emulator::Fail("queue", "DeQue of an empty queue: the core hangs");
    detail::Slot& slot = SlotOf(state_->order.front(), "DeQue");
    state_->order.pop_front();
    --QueueEvents(kFilled);
    slot.state = detail::Slot::kTaken;
    emulator::Current()->Learn(kConsumer, slot.filled);
    return LocalTensor<T>(slot.address, slot.bytes / sizeof(T), slot.buffer);
  }

  template <typename T>
  void FreeTensor(LocalTensor<T>& tensor) {
    detail::Slot& slot = SlotOf(tensor.buffer, "FreeTensor");
    if (slot.state == detail::Slot::kFree) emulator::Fail("queue", "FreeTensor of a tensor that is free");
    if (slot.state == detail::Slot::kQueued) emulator::Fail("queue", "FreeTensor of a tensor that is still queued");
    TakeEvent(QueueEvents(kFreed), "FreeTensor");
    slot.was_freed = true;
    slot.state = detail::Slot::kFree;
    slot.freed = emulator::Current()->Record(kConsumer);
    emulator::Current()->SetFree(slot.address, slot.bytes, true);
  }

 private:
  friend class TPipe;
  static constexpr int kFilled = position == TPosition::VECIN ? 0 : 1;  // MTE2_V, V_MTE3
  static constexpr int kFreed = position == TPosition::VECIN ? 2 : 3;   // V_MTE2, MTE3_V

  static int& QueueEvents(int event) { return emulator::Current()->queue_events[event]; }

  static void TakeEvent(int& taken, const char* what) {
    if (++taken > emulator::kEventIds) emulator::Fail("events", "%s: queues hold more than %d ids of one event", what, emulator::kEventIds);
  }

  detail::Slot& SlotOf(int buffer, const char* what) {
    for (detail::Slot& slot : state_->slots) {
      if (slot.buffer == buffer) return slot;
    }
    emulator::Fail("queue", "%s of a tensor that belongs to another queue", what);
  }

  std::shared_ptr<detail::QueueState> state_ = std::make_shared<detail::QueueState>();
};

namespace detail {
constexpr emulator::Space SpaceOf(TPosition position) {
  switch (position) {
    case TPosition::A1:
    case TPosition::B1: return emulator::kL1;
    case TPosition::A2: return emulator::kL0A;
    case TPosition::B2: return emulator::kL0B;
    case TPosition::CO1: return emulator::kL0C;
    default: return emulator::kUnified;
  }
}
}  // namespace detail

template <TPosition position = TPosition::LCM>
class TBuf {
 public:
  template <typename T>
  LocalTensor<T> Get() {
    return LocalTensor<T>(address_, bytes_ / sizeof(T), buffer_);
  }
  template <typename T>
  LocalTensor<T> Get(uint32_t length) {
    if (length * sizeof(T) > bytes_) emulator::Fail("bounds", "TBuf::Get of %u elements from %u bytes", length, bytes_);
    return LocalTensor<T>(address_, length, buffer_);
  }

 private:
  friend class TPipe;
  uint32_t address_ = 0, bytes_ = 0;
  int buffer_ = 0;
};

class TPipe {
 public:
  // The toolkit keeps three events M_MTE1 of a cube core for itself.
  TPipe() {
    emulator::Current()->pipe = this;
    if (emulator::Current()->cube()) emulator::Current()->allocated_events[static_cast<int>(HardEvent::M_MTE1)] = 7;
  }
  ~TPipe() { emulator::Current()->pipe = nullptr; }
  TPipe(const TPipe&) = delete;

  template <TPosition position, int32_t depth, auto mask>
  bool InitBuffer(TQue<position, depth, mask>& queue, int64_t count, uint32_t bytes) {
    detail::InRange(count, 255, "number of buffers");
    for (int64_t i = 0; i < count; ++i) {
      detail::Slot slot;
      slot.buffer = emulator::Current()->NewBuffer(emulator::kUnified, bytes, &slot.address);
      slot.bytes = (bytes + 31) / 32 * 32;
      emulator::Current()->SetFree(slot.address, slot.bytes, true);
      queue.state_->slots.push_back(slot);
    }
    emulator::Current()->at_end.push_back([state = queue.state_] { state->Finish(); });
    return true;
  }

  template <TPosition position>
  bool InitBuffer(TBuf<position>& buffer, uint32_t bytes) {
    buffer.buffer_ = emulator::Current()->NewBuffer(detail::SpaceOf(position), bytes, &buffer.address_);
    buffer.bytes_ = (bytes + 31) / 32 * 32;
    return true;
  }

  template <HardEvent event>
  TEventID AllocEventID() {
    std::uint32_t& taken = emulator::Current()->allocated_events[static_cast<int>(event)];
    for (int id = 0; id < emulator::kEventIds; ++id) {
      if (taken >> id & 1) continue;
      taken |= 1u << id;
      return static_cast<TEventID>(id);
    }
    emulator::Fail("events", "all %d ids of an event are allocated", emulator::kEventIds);
  }

  template <HardEvent event>
  void ReleaseEventID(TEventID id) {
    std::uint32_t& taken = emulator::Current()->allocated_events[static_cast<int>(event)];
    if (!(taken >> id & 1)) emulator::Fail("events", "event id %d is released and was not allocated", id);
    taken &= ~(1u << id);
  }

  // The ids that queues hold are taken, too. The toolkit does not check: it returns one that does not exist.
  TEventID FetchEventID(HardEvent event) {
    if (HeldByQueues(event) == emulator::kEventIds) emulator::Fail("events", "queues hold all ids of the event");
    for (int id = 0; id < emulator::kEventIds; ++id) {
      if (emulator::Current()->allocated_events[static_cast<int>(event)] >> id & 1) continue;
      const auto found = emulator::Current()->flags.find({static_cast<int>(event), id});
      if (found == emulator::Current()->flags.end() || !found->second.set) return static_cast<TEventID>(id);
    }
    emulator::Fail("events", "all %d event ids are in use", emulator::kEventIds);
  }

 private:
  static int HeldByQueues(HardEvent event) {
    constexpr HardEvent kOfQueues[] = {HardEvent::MTE2_V, HardEvent::V_MTE3, HardEvent::V_MTE2, HardEvent::MTE3_V};
    for (int i = 0; i < 4; ++i) {
      if (kOfQueues[i] == event) return emulator::Current()->queue_events[i];
    }
    return 0;
  }
};

inline TPipe* GetTPipePtr() { return static_cast<TPipe*>(emulator::Current()->pipe); }

}  // namespace AscendC

#endif  // CUBOID_EMULATOR_QUEUE_H_
