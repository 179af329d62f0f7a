#include "streams.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "ledger.h"
#include "memory.h"
#include "report.h"

namespace standin {
namespace {
std::mutex order_lock;  // guards the clocks: launches are put in order as the host makes them
ordering::Clock host_clock;
uint64_t host_number = 0;
std::atomic<int> streams_made{0};
std::atomic<aclError> device_failure{0};
std::mutex list_lock;
std::vector<Stream*> list;

double now_ms() {
  using namespace std::chrono;
  return duration<double, std::milli>(steady_clock::now().time_since_epoch()).count();
}

bool check_ranges(const std::string& name, const std::vector<ordering::Range>& reads,
                  const std::vector<ordering::Range>& writes) {
  for (int writing = 0; writing < 2; ++writing) {
    int index = 0;
    for (const auto& range : writing ? writes : reads) {
      const std::string wrong = memory::complaint(range.pointer, range.bytes);
      const char* verb = writing ? " writes " : " reads ";
      const char* noun = writing ? "output " : "input ";
      if (!wrong.empty()) {
        found(name + verb + wrong + " (" + noun + std::to_string(index) + ", " +
              std::to_string(range.bytes) + " bytes)");
        return false;
      }
      if (!writing && memory::unwritten(range.pointer, range.bytes)) {
        found(name + " reads memory that nobody wrote (input " + std::to_string(index) + ", " +
              std::to_string(range.bytes) + " bytes)");
        return false;
      }
      ++index;
    }
  }
  for (const auto& range : writes) memory::note_written(range.pointer, range.bytes);
  return true;
}
}  // namespace

Stream::Stream() : number(++streams_made) {
  random_ = static_cast<uint64_t>(option_number("SEED", 0)) * 7919 + number * 104729 + 1;
  {
    std::lock_guard<std::mutex> hold(list_lock);
    list.push_back(this);
  }
  thread_ = std::thread([this] { run(); });
}

Stream::~Stream() {
  synchronize(-1);
  {
    std::lock_guard<std::mutex> hold(lock_);
    stopping_ = true;
  }
  changed_.notify_all();
  thread_.join();
  std::lock_guard<std::mutex> hold(list_lock);
  list.erase(std::remove(list.begin(), list.end(), this), list.end());
}

void Stream::run() {
  const long longest = option_number("DELAY_US", 0);
  std::unique_lock<std::mutex> hold(lock_);
  while (true) {
    changed_.wait(hold, [this] { return stopping_ || !tasks_.empty(); });
    if (tasks_.empty()) return;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    busy_ = true;
    current_ = task.name;
    hold.unlock();
    if (longest > 0) {
      random_ = random_ * 6364136223846793005ULL + 1442695040888963407ULL;
      std::this_thread::sleep_for(std::chrono::microseconds((random_ >> 33) % longest));
    }
    if (device_failure == 0) task.work();
    hold.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

void Stream::push(std::string name, std::function<void()> work) {
  {
    std::lock_guard<std::mutex> hold(lock_);
    tasks_.push_back({std::move(name), std::move(work)});
  }
  changed_.notify_all();
}

aclError Stream::launch(const std::string& name, std::function<void()> work,
                        const std::vector<ordering::Range>& reads,
                        const std::vector<ordering::Range>& writes) {
  if (device_failure) return device_failure;
  uint64_t bytes = 0;
  for (const auto& r : reads) bytes += r.bytes;
  for (const auto& w : writes) bytes += w.bytes;
  ledger::launch(name, bytes, number);
  if (!check_ranges(name, reads, writes)) return kRuntimeInvalidParam;
  std::lock_guard<std::mutex> hold(order_lock);
  ordering::join(clock_, host_clock);
  clock_[number] = ++launched_;
  ordering::access(name, number, launched_, clock_, reads, writes);
  push(name, std::move(work));
  return kSuccess;
}

void Stream::record(Event* event) {
  uint64_t turn;
  std::lock_guard<std::mutex> order(order_lock);
  {
    std::lock_guard<std::mutex> hold(event->lock);
    turn = ++event->asked;
    ordering::join(clock_, host_clock);
    event->clock = clock_;
  }
  push("event record", [event, turn] {
    std::lock_guard<std::mutex> hold(event->lock);
    event->done = std::max(event->done, turn);
    event->time_ms = now_ms();
    event->changed.notify_all();
  });
}

void Stream::wait(Event* event) {
  uint64_t turn;
  std::lock_guard<std::mutex> order(order_lock);
  {
    std::lock_guard<std::mutex> hold(event->lock);
    turn = event->asked;
    ordering::join(clock_, event->clock);
  }
  push("event wait", [event, turn] {
    std::unique_lock<std::mutex> hold(event->lock);
    while (event->done < turn && device_failure == 0) {
      event->changed.wait_for(hold, std::chrono::milliseconds(200));
    }
  });
}

aclError Stream::synchronize(long timeout_ms) {
  {
    std::unique_lock<std::mutex> hold(lock_);
    const double start = now_ms();
    while (!tasks_.empty() || busy_) {
      changed_.wait_for(hold, std::chrono::milliseconds(200));
      if (timeout_ms >= 0 && now_ms() - start > timeout_ms) {
        remember("stream " + std::to_string(number) + " did not end in time; it runs " + current_);
        return kStreamSyncTimeout;
      }
    }
  }
  ledger::write_now_and_then();
  std::lock_guard<std::mutex> order(order_lock);
  ordering::join(host_clock, clock_);
  return device_failure;
}

bool Stream::idle() {
  std::lock_guard<std::mutex> hold(lock_);
  return tasks_.empty() && !busy_;
}

void Stream::fail_all(aclError code, const std::string& why) {
  remember(why);
  say(why + " (code " + std::to_string(code) + ")");
  ledger::note_error(why);
  device_failure = code;
}

aclError Stream::failure() { return device_failure; }

Stream* default_stream() {
  static Stream* one = new Stream;
  return one;
}

Stream* stream_of(aclrtStream handle) {
  return handle ? static_cast<Stream*>(handle) : default_stream();
}

std::vector<Stream*> all_streams() {
  std::lock_guard<std::mutex> hold(list_lock);
  return list;
}

void host_accesses(const std::string& who, const std::vector<ordering::Range>& reads,
                   const std::vector<ordering::Range>& writes) {
  if (!check_ranges(who, reads, writes)) return;
  std::lock_guard<std::mutex> hold(order_lock);
  host_clock[0] = ++host_number;
  ordering::access(who, 0, host_number, host_clock, reads, writes);
}

void host_waited_for(Event* event) {
  std::lock_guard<std::mutex> order(order_lock);
  std::lock_guard<std::mutex> hold(event->lock);
  ordering::join(host_clock, event->clock);
}
}  // namespace standin
