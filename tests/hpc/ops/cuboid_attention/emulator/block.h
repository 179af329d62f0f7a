// The two vector cores and the cube core of a block, run in turns, and the flags between them.
#ifndef CUBOID_EMULATOR_BLOCK_H_
#define CUBOID_EMULATOR_BLOCK_H_

#include <ucontext.h>

#include <deque>
#include <exception>
#include <memory>

#include "referee.h"

namespace emulator {

class Block;

inline Block*& CurrentBlock() {
  thread_local Block* block = nullptr;
  return block;
}

// A member runs until it waits for a flag that is not set; then the next one runs.
class Block {
 public:
  Block(const Device& device, int index, int count, std::function<void()> kernel) : kernel_(std::move(kernel)) {
    for (int member = 0; member < kMembers; ++member) {
      const int core = member == kCubeMember ? index : 2 * index + member;
      cores_.push_back(std::make_unique<Core>(device, core, count, member));
    }
  }

  void Run() {
    CurrentBlock() = this;
    for (int member = 0; member < kMembers; ++member) {
      stacks_[member].resize(kStackBytes);
      getcontext(&contexts_[member]);
      contexts_[member].uc_stack.ss_sp = stacks_[member].data();
      contexts_[member].uc_stack.ss_size = kStackBytes;
      contexts_[member].uc_link = &scheduler_;
      makecontext(&contexts_[member], &Block::Enter, 0);
    }
    for (bool all_done = false; !all_done;) {
      progress_ = false;
      all_done = true;
      for (running_ = 0; running_ < kMembers; ++running_) {
        if (done_[running_]) continue;
        Current() = cores_[running_].get();
        swapcontext(&scheduler_, &contexts_[running_]);
        Current() = nullptr;
        if (failure_) std::rethrow_exception(failure_);
        all_done = all_done && done_[running_];
      }
      if (!all_done && !progress_) Fail("events", "every core waits for a flag of another core: the block hangs");
    }
    for (const auto& flags : {to_vector_, to_cube_}) {
      for (const auto& [key, stamps] : flags) {
        if (!stamps.empty()) Fail("events", "flag %d between cores is set and never waited for", key.second);
      }
    }
    CurrentBlock() = nullptr;
  }

  void SetFlag(const Core& core, Pipe pipe, int id) {
    CheckId(id);
    for (int member = 0; member < kCubeMember; ++member) {
      if (!core.cube() && core.member != member) continue;
      std::deque<Stamp>& stamps = (core.cube() ? to_vector_ : to_cube_)[{member, id}];
      if (stamps.size() >= kCrossCoreSets) {
        Fail("events", "flag %d between cores is set %d times without a wait", id, kCrossCoreSets + 1);
      }
      stamps.push_back(core.RecordForOthers(pipe));
    }
    progress_ = true;
  }

  void WaitFlag(Core& core, int id) {
    CheckId(id);
    while (!TryWait(core, id)) {
      swapcontext(&contexts_[running_], &scheduler_);
    }
    progress_ = true;
  }

  const Core& core(int member) const { return *cores_[member]; }

 private:
  static constexpr std::size_t kStackBytes = 1 << 18;

  static void Enter() {
    Block& block = *CurrentBlock();
    try {
      block.kernel_();
      Current()->Finish();
    } catch (...) {
      block.failure_ = std::current_exception();
    }
    block.done_[block.running_] = true;
    block.progress_ = true;
  }

  bool TryWait(Core& core, int id) {
    if (!core.cube()) return Take(core, to_vector_[{core.member, id}]);
    std::deque<Stamp>&first = to_cube_[{0, id}], &second = to_cube_[{1, id}];
    return !first.empty() && !second.empty() && Take(core, first) && Take(core, second);
  }

  static bool Take(Core& core, std::deque<Stamp>& stamps) {
    if (stamps.empty()) return false;
    core.LearnFromOthers(stamps.front());
    stamps.pop_front();
    return true;
  }

  static void CheckId(int id) {
    if (id < 0 || id >= kCrossCoreIds) Fail("events", "flag %d between cores is not in 0..%d", id, kCrossCoreIds - 1);
  }

  std::function<void()> kernel_;
  std::vector<std::unique_ptr<Core>> cores_;
  std::map<std::pair<int, int>, std::deque<Stamp>> to_vector_, to_cube_;  // by (vector core, id)
  std::array<std::vector<char>, kMembers> stacks_;
  std::array<ucontext_t, kMembers> contexts_;
  ucontext_t scheduler_;
  std::array<bool, kMembers> done_{};
  int running_ = 0;
  bool progress_ = false;
  std::exception_ptr failure_;
};

}  // namespace emulator

#endif  // CUBOID_EMULATOR_BLOCK_H_
