// A small pool of threads shared by the native operators of one library.
//
// The number of threads is OMP_NUM_THREADS when set (as MindSpore's own kernels obey it), else the
// processors that the process may use. Work is split into contiguous ranges, so results never depend
// on which thread ran which range.
#ifndef HPC_OPS_NATIVE_PARALLEL_H_
#define HPC_OPS_NATIVE_PARALLEL_H_

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace native {

inline int ThreadCount() {
  static const int count = [] {
    if (const char* text = std::getenv("OMP_NUM_THREADS")) {
      const int asked = std::atoi(text);
      if (asked > 0) return asked;
    }
    cpu_set_t allowed;
    CPU_ZERO(&allowed);
    if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) return std::max(1, CPU_COUNT(&allowed));
    return 1;
  }();
  return count;
}

class Pool {
 public:
  using Task = std::function<void(int)>;

  explicit Pool(int threads) : process_(getpid()) {
    for (int i = 1; i < threads; ++i) {
      std::thread([this, i] { Work(i); }).detach();
    }
  }

  bool BelongsToThisProcess() const { return process_ == getpid(); }

  // Runs task(0) here and task(1..parts-1) on the workers; returns when all are done.
  void Run(int parts, const Task& task) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      task_ = &task;
      parts_ = parts;
      pending_ = parts - 1;
      ++generation_;
    }
    wake_.notify_all();
    task(0);
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [this] { return pending_ == 0; });
  }

  std::mutex entrance;

 private:
  void Work(int index) {
    std::uint64_t seen = 0;
    for (;;) {
      const Task* task = nullptr;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        wake_.wait(lock, [&] { return generation_ != seen; });
        seen = generation_;
        if (index < parts_) task = task_;
      }
      if (task == nullptr) continue;
      (*task)(index);
      std::lock_guard<std::mutex> lock(mutex_);
      if (--pending_ == 0) done_.notify_one();
    }
  }

  const pid_t process_;
  std::mutex mutex_;
  std::condition_variable wake_, done_;
  const Task* task_ = nullptr;
  int parts_ = 0;
  int pending_ = 0;
  std::uint64_t generation_ = 0;
};

// The pool of this process. It is never destroyed: its workers sleep until the process ends.
inline Pool* SharedPool() {
  static std::mutex creation;
  static Pool* pool = nullptr;
  std::lock_guard<std::mutex> lock(creation);
  // After a fork the threads are gone: the child makes its own pool.
  if (pool == nullptr || !pool->BelongsToThisProcess()) pool = new Pool(ThreadCount());
  return pool;
}

// Calls body(begin, end) on contiguous ranges that cover [0, count).
//
// A second caller that comes while the pool works (MindSpore may launch independent operators at the
// same time) runs its whole range itself, so calls never wait for each other.
template <typename Body>
void ParallelFor(std::int64_t count, const Body& body) {
  const int threads = static_cast<int>(std::min<std::int64_t>(ThreadCount(), count));
  if (threads <= 1) {
    if (count > 0) body(std::int64_t{0}, count);
    return;
  }
  Pool* pool = SharedPool();
  std::unique_lock<std::mutex> lock(pool->entrance, std::try_to_lock);
  if (!lock.owns_lock()) {
    body(std::int64_t{0}, count);
    return;
  }
  pool->Run(threads, [&](int part) {
    const std::int64_t begin = count * part / threads;
    const std::int64_t end = count * (part + 1) / threads;
    if (begin < end) body(begin, end);
  });
}

}  // namespace native

#endif  // HPC_OPS_NATIVE_PARALLEL_H_
