#include "memory.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>

#include "ledger.h"
#include "report.h"

namespace standin::memory {
namespace {
constexpr size_t kArena = size_t(256) << 30;
constexpr size_t kAlign = 512;
constexpr size_t kPage = size_t(2) << 20;
constexpr unsigned char kPoison = 0xE5;

struct Arena {
  std::mutex lock;
  char* base = nullptr;
  std::map<size_t, size_t> living, vacant, freed;  // offset -> bytes
  std::map<size_t, size_t> written;                // offset -> end
  size_t in_use = 0;
  Arena() {
    void* got = mmap(nullptr, kArena, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (got == MAP_FAILED) {
      say("no address space for the arena");
      std::abort();
    }
    base = static_cast<char*>(got);
    vacant[0] = kArena;
  }
};
Arena& arena() {
  static Arena* one = new Arena;
  return *one;
}

size_t offset_of(const void* pointer) { return static_cast<const char*>(pointer) - arena().base; }

void forget_written(Arena& a, size_t begin, size_t end) {
  auto it = a.written.upper_bound(begin);
  if (it != a.written.begin()) --it;
  while (it != a.written.end() && it->first < end) {
    const size_t from = it->first, to = it->second;
    if (to <= begin) {
      ++it;
      continue;
    }
    it = a.written.erase(it);
    if (from < begin) a.written[from] = begin;
    if (to > end) a.written[end] = to;
  }
}

std::map<size_t, size_t>::iterator block_at(std::map<size_t, size_t>& blocks, size_t offset) {
  auto it = blocks.upper_bound(offset);
  if (it == blocks.begin()) return blocks.end();
  --it;
  return offset < it->first + it->second ? it : blocks.end();
}
}  // namespace

size_t capacity() { return static_cast<size_t>(option_number("MEMORY_MB", 32768)) << 20; }
size_t in_use() { return arena().in_use; }

bool on_device(const void* pointer) {
  const char* p = static_cast<const char*>(pointer);
  return p >= arena().base && p < arena().base + kArena;
}

void* allocate(size_t bytes) {
  Arena& a = arena();
  std::lock_guard<std::mutex> hold(a.lock);
  const size_t need = (bytes + kAlign - 1) / kAlign * kAlign + kAlign;  // a gap behind each block
  if (a.in_use + bytes > capacity()) return nullptr;
  for (auto it = a.vacant.begin(); it != a.vacant.end(); ++it) {
    if (it->second < need) continue;
    const size_t at = it->first, left = it->second - need;
    a.vacant.erase(it);
    if (left) a.vacant[at + need] = left;
    a.living[at] = bytes;
    for (auto f = a.freed.begin(); f != a.freed.end();) {
      f = f->first < at + need && f->first + f->second > at ? a.freed.erase(f) : std::next(f);
    }
    a.in_use += bytes;
    forget_written(a, at, at + need);
    // Poison lazily touched pages only as far as small tests read: a huge pool stays untouched.
    std::memset(a.base + at, kPoison, std::min(bytes, size_t(64) << 20));
    ledger::memory(a.in_use);
    return a.base + at;
  }
  return nullptr;
}

bool release(void* pointer) {
  Arena& a = arena();
  std::lock_guard<std::mutex> hold(a.lock);
  auto it = a.living.find(offset_of(pointer));
  if (it == a.living.end()) return false;
  size_t at = it->first, bytes = it->second;
  a.in_use -= bytes;
  a.living.erase(it);
  a.freed[at] = bytes;
  size_t room = (bytes + kAlign - 1) / kAlign * kAlign + kAlign;
  madvise(a.base + at, bytes / 4096 * 4096, MADV_DONTNEED);
  auto next = a.vacant.find(at + room);
  if (next != a.vacant.end()) {
    room += next->second;
    a.vacant.erase(next);
  }
  auto before = a.vacant.lower_bound(at);
  if (before != a.vacant.begin()) {
    --before;
    if (before->first + before->second == at) {
      at = before->first;
      room += before->second;
    }
  }
  a.vacant[at] = room;
  return true;
}

std::string complaint(const void* pointer, size_t bytes) {
  if (bytes == 0) return "";
  if (!pointer) return "a null pointer";
  if (!on_device(pointer)) return "a host pointer";
  Arena& a = arena();
  std::lock_guard<std::mutex> hold(a.lock);
  const size_t at = offset_of(pointer);
  auto it = block_at(a.living, at);
  if (it == a.living.end()) {
    return block_at(a.freed, at) != a.freed.end() ? "memory that was freed"
                                                  : "memory that was never allocated";
  }
  size_t end = it->first + it->second;
  for (++it; it != a.living.end() && it->first == end && end < at + bytes; ++it) end += it->second;
  if (at + bytes > end) {
    return std::to_string(at + bytes - end) + " bytes beyond the end of its block";
  }
  return "";
}

void* reserve(size_t bytes) {
  Arena& a = arena();
  std::lock_guard<std::mutex> hold(a.lock);
  for (auto it = a.vacant.begin(); it != a.vacant.end(); ++it) {
    const size_t at = (it->first + kPage - 1) / kPage * kPage, end = it->first + it->second;
    if (at + bytes > end) continue;
    const size_t before = at - it->first;
    if (before) {
      it->second = before;
    } else {
      a.vacant.erase(it);
    }
    if (at + bytes < end) a.vacant[at + bytes] = end - at - bytes;
    return a.base + at;
  }
  return nullptr;
}

bool map(void* pointer, size_t bytes) {
  Arena& a = arena();
  std::lock_guard<std::mutex> hold(a.lock);
  const size_t at = offset_of(pointer);
  if (block_at(a.living, at) != a.living.end()) return false;
  a.living[at] = bytes;
  a.freed.erase(at);
  a.in_use += bytes;
  forget_written(a, at, at + bytes);
  std::memset(a.base + at, kPoison, bytes);
  ledger::memory(a.in_use);
  return true;
}

bool unmap(void* pointer) {
  Arena& a = arena();
  std::lock_guard<std::mutex> hold(a.lock);
  auto it = a.living.find(offset_of(pointer));
  if (it == a.living.end()) return false;
  a.in_use -= it->second;
  madvise(a.base + it->first, it->second, MADV_DONTNEED);
  a.freed[it->first] = it->second;
  a.living.erase(it);
  return true;
}

void note_written(const void* pointer, size_t bytes) {
  if (bytes == 0 || !on_device(pointer)) return;
  Arena& a = arena();
  std::lock_guard<std::mutex> hold(a.lock);
  size_t begin = offset_of(pointer), end = begin + bytes;
  auto it = a.written.upper_bound(begin);
  if (it != a.written.begin()) {
    auto before = std::prev(it);
    if (before->second >= end) return;
    if (before->second >= begin) {
      begin = before->first;
      it = before;
    }
  }
  while (it != a.written.end() && it->first <= end) {
    end = std::max(end, it->second);
    it = a.written.erase(it);
  }
  a.written[begin] = end;
}

bool unwritten(const void* pointer, size_t bytes) {
  if (bytes == 0 || !on_device(pointer)) return false;
  Arena& a = arena();
  std::lock_guard<std::mutex> hold(a.lock);
  const size_t begin = offset_of(pointer);
  auto it = a.written.upper_bound(begin);
  if (it == a.written.begin()) return true;
  --it;
  return it->second < begin + bytes;
}
}  // namespace standin::memory
