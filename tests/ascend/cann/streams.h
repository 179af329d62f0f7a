// Streams: queues that run beside the host, each with its own thread and, on request, seeded
// random delays; events order them. PREDIFF_STANDIN_DELAY_US is the longest delay.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "api.h"
#include "ordering.h"

namespace standin {
struct Event {
  std::mutex lock;
  std::condition_variable changed;
  uint64_t asked = 0, done = 0;      // how often it was recorded, and how many of those have run
  ordering::Clock clock;             // what had been queued when it was last recorded
  double time_ms = 0;
};

class Stream {
 public:
  Stream();
  ~Stream();
  const int number;
  // Queues `work`; what it reads and writes is checked for races and for memory errors at once.
  aclError launch(const std::string& name, std::function<void()> work,
                  const std::vector<ordering::Range>& reads,
                  const std::vector<ordering::Range>& writes);
  void record(Event* event);
  void wait(Event* event);
  // Waits until the queue is empty; kStreamSyncTimeout after `timeout_ms` (negative: for ever).
  aclError synchronize(long timeout_ms);
  bool idle();
  // A failure of the device: all that is queued is dropped and every later call returns `code`.
  static void fail_all(aclError code, const std::string& why);
  static aclError failure();

 private:
  struct Task {
    std::string name;
    std::function<void()> work;
  };
  void run();
  void push(std::string name, std::function<void()> work);
  std::mutex lock_;
  std::condition_variable changed_;
  std::deque<Task> tasks_;
  bool busy_ = false, stopping_ = false;
  std::string current_;
  uint64_t launched_ = 0;
  ordering::Clock clock_;
  uint64_t random_;
  std::thread thread_;
};

Stream* default_stream();
Stream* stream_of(aclrtStream handle);
std::vector<Stream*> all_streams();
void host_accesses(const std::string& who, const std::vector<ordering::Range>& reads,
                   const std::vector<ordering::Range>& writes);
void host_waited_for(Event* event);
}  // namespace standin
