#include "ordering.h"

#include <algorithm>
#include <mutex>

#include "memory.h"
#include "report.h"

namespace standin::ordering {
namespace {
struct Access {
  int queue = -1;
  uint64_t number = 0;
  std::shared_ptr<const std::string> who;
};
struct Cell {  // the history of the bytes [key, end)
  uintptr_t end;
  Access write;
  std::vector<Access> reads;  // since that write, one for each queue
};
struct History {
  std::mutex lock;
  std::map<uintptr_t, Cell> cells;
};
History& history() {
  static History* one = new History;
  return *one;
}

// Cuts cells at `at`, so that none straddles it.
void cut(History& h, uintptr_t at) {
  auto it = h.cells.upper_bound(at);
  if (it == h.cells.begin()) return;
  --it;
  if (it->first == at || it->second.end <= at) return;
  Cell right = it->second;
  it->second.end = at;
  h.cells.emplace(at, std::move(right));
}

bool ordered(const Access& earlier, int queue, const Clock& before) {
  if (earlier.queue < 0 || earlier.queue == queue) return true;
  auto it = before.find(earlier.queue);
  return it != before.end() && it->second >= earlier.number;
}

std::string place(int queue) {
  return queue == 0 ? "the host" : "stream " + std::to_string(queue);
}

void race(const char* kind, const std::string& who, int queue, const Access& earlier, size_t bytes) {
  found(std::string("race: ") + who + " on " + place(queue) + " " + kind + " " + *earlier.who +
        " on " + place(earlier.queue) + " (" + std::to_string(bytes) +
        " bytes): no event or synchronisation orders them");
}
}  // namespace

void join(Clock& into, const Clock& other) {
  for (const auto& [queue, number] : other) {
    uint64_t& mine = into[queue];
    mine = std::max(mine, number);
  }
}

void access(const std::string& who, int queue, uint64_t number, const Clock& before,
            const std::vector<Range>& reads, const std::vector<Range>& writes) {
  static const bool off = option_number("RACES", 1) == 0;
  if (off) return;
  History& h = history();
  std::lock_guard<std::mutex> hold(h.lock);
  const auto name = std::make_shared<const std::string>(who);
  for (int writing = 0; writing < 2; ++writing) {
    for (const Range& range : writing ? writes : reads) {
      if (!range.bytes || !memory::on_device(range.pointer)) continue;
      const uintptr_t begin = reinterpret_cast<uintptr_t>(range.pointer);
      const uintptr_t end = begin + range.bytes;
      cut(h, begin);
      cut(h, end);
      auto it = h.cells.lower_bound(begin);
      uintptr_t at = begin;
      while (at < end) {
        if (it == h.cells.end() || it->first >= end || it->first > at) {
          const uintptr_t gap = it == h.cells.end() ? end : std::min(end, it->first);
          it = h.cells.emplace_hint(it, at, Cell{gap, {}, {}});
        }
        Cell& cell = it->second;
        if (!ordered(cell.write, queue, before)) {
          race(writing ? "overwrites what was written by" : "reads what is being written by", who,
               queue, cell.write, cell.end - at);
        }
        if (writing) {
          for (const Access& read : cell.reads) {
            if (!ordered(read, queue, before)) {
              race("overwrites what is being read by", who, queue, read, cell.end - at);
            }
          }
        } else {
          auto mine = std::find_if(cell.reads.begin(), cell.reads.end(),
                                   [&](const Access& a) { return a.queue == queue; });
          if (mine == cell.reads.end()) {
            cell.reads.push_back({queue, number, name});
          } else {
            *mine = {queue, number, name};
          }
        }
        at = cell.end;
        ++it;
      }
      if (writing) {  // one cell with this write replaces all in the range
        h.cells.erase(h.cells.lower_bound(begin), h.cells.lower_bound(end));
        h.cells.emplace(begin, Cell{end, {queue, number, name}, {}});
      }
    }
  }
}
}  // namespace standin::ordering
