#include "ledger.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <mutex>
#include <set>
#include <vector>

#include "report.h"

namespace standin::ledger {
namespace {
struct Row {
  uint64_t count = 0, bytes = 0;
};
struct Book {
  std::mutex lock;
  std::map<std::string, Row> launches, messages;
  std::set<int> streams;
  std::vector<std::string> errors;
  uint64_t peak = 0;
};
// Never destroyed: threads may still count while the process ends.
Book& book() {
  static Book* one = new Book;
  return *one;
}

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + "\"";
}

std::string table(const std::map<std::string, Row>& rows) {
  std::string out = "{";
  for (const auto& [name, row] : rows) {
    if (out.size() > 1) out += ", ";
    out += quoted(name) + ": {\"count\": " + std::to_string(row.count) +
           ", \"bytes\": " + std::to_string(row.bytes) + "}";
  }
  return out + "}";
}

struct AtExit {
  ~AtExit() { write(); }
} at_exit;
}  // namespace

void launch(const std::string& name, uint64_t bytes, int stream) {
  Book& b = book();
  std::lock_guard<std::mutex> hold(b.lock);
  Row& row = b.launches[name];
  row.count += 1;
  row.bytes += bytes;
  b.streams.insert(stream);
}

void message(const std::string& kind, uint64_t bytes) {
  Book& b = book();
  std::lock_guard<std::mutex> hold(b.lock);
  Row& row = b.messages[kind];
  row.count += 1;
  row.bytes += bytes;
}

void memory(uint64_t in_use) {
  Book& b = book();
  std::lock_guard<std::mutex> hold(b.lock);
  b.peak = std::max(b.peak, in_use);
}

void write_now_and_then() {
  static std::atomic<int64_t> last{0};
  using namespace std::chrono;
  const int64_t now = duration_cast<milliseconds>(steady_clock::now().time_since_epoch()).count();
  int64_t before = last;
  if (now - before > 200 && last.compare_exchange_strong(before, now)) write();
}

void note_error(const std::string& line) {
  Book& b = book();
  std::lock_guard<std::mutex> hold(b.lock);
  b.errors.push_back(line);
}

void write() {
  const std::string folder = option("LEDGER", "");
  if (folder.empty()) return;
  Book& b = book();
  std::lock_guard<std::mutex> hold(b.lock);
  if (b.launches.empty() && b.messages.empty() && b.errors.empty()) return;
  uint64_t aclnn = 0, aclop = 0;
  for (const auto& [name, row] : b.launches) {
    if (name.rfind("aclnn", 0) == 0) aclnn += row.count;
    if (name.rfind("aclop:", 0) == 0) aclop += row.count;
  }
  std::string errors = "[";
  for (const auto& line : b.errors) errors += (errors.size() > 1 ? ", " : "") + quoted(line);
  const std::string path = folder + "/rank_" + std::to_string(rank()) + "_" +
                           std::to_string(getpid()) + ".json";
  std::ofstream file(path + ".new");
  file << "{\"device\": \"stand-in, no silicon\", \"rank\": " << rank() << ", \"aclnn\": " << aclnn
       << ", \"aclop\": " << aclop << ", \"streams\": " << b.streams.size()
       << ", \"peak_bytes\": " << b.peak << ",\n \"launches\": " << table(b.launches)
       << ",\n \"messages\": " << table(b.messages) << ",\n \"errors\": " << errors << "]}\n";
  file.close();
  std::rename((path + ".new").c_str(), path.c_str());
}
}  // namespace standin::ledger
