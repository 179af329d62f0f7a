// Counts of what a process asked of the device; written as JSON, one file a rank, when it ends.
#pragma once
#include <cstdint>
#include <string>

namespace standin::ledger {
void launch(const std::string& name, uint64_t bytes, int stream);
void message(const std::string& kind, uint64_t bytes);
void memory(uint64_t in_use);
void note_error(const std::string& line);
// The same, at most five times a second: a process that leaves at once runs no destructor.
void write_now_and_then();
// Writes PREDIFF_STANDIN_LEDGER/rank_<n>_<pid>.json where that option is set.
void write();
}  // namespace standin::ledger
