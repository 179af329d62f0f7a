// Happens-before over streams, events and the host: two accesses of the same bytes, one of them a
// write, that nothing orders are a race, whatever the timing of this run was.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace standin::ordering {
// For each queue (stream number; 0 is the host) the last of its launches that has happened before.
using Clock = std::map<int, uint64_t>;
void join(Clock& into, const Clock& other);

struct Range {
  const void* pointer;
  size_t bytes;
};
// `number` is the place of this access in its queue. Reports a race through report.h.
void access(const std::string& who, int queue, uint64_t number, const Clock& before,
            const std::vector<Range>& reads, const std::vector<Range>& writes);
}  // namespace standin::ordering
