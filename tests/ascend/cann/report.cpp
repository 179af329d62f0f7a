#include "report.h"

#include <execinfo.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "ledger.h"

namespace standin {
namespace {
std::mutex lock;
std::string latest;
}  // namespace

std::string option(const char* name, const char* otherwise) {
  const char* value = std::getenv((std::string("PREDIFF_STANDIN_") + name).c_str());
  return value ? value : otherwise;
}

long option_number(const char* name, long otherwise) {
  const std::string value = option(name, "");
  return value.empty() ? otherwise : std::strtol(value.c_str(), nullptr, 10);
}

int rank() {
  const char* value = std::getenv("RANK_ID");
  return value ? std::atoi(value) : 0;
}

void say(const std::string& line) {
  std::fprintf(stderr, "stand-in (no silicon) rank %d: %s\n", rank(), line.c_str());
  std::fflush(stderr);
}

void remember(const std::string& line) {
  std::lock_guard<std::mutex> hold(lock);
  latest = "stand-in: " + line;
}

void found(const std::string& line) {
  remember(line);
  say("ERROR " + line);
  ledger::note_error(line);
  if (option_number("KEEP_GOING", 0) == 0) {
    ledger::write();
    _exit(86);
  }
}

namespace {
void crashed(int signal_number) {  // our own fault, or MindSpore's: where, as far as one can tell
  void* frames[64];
  const int depth = backtrace(frames, 64);
  const char line[] = "stand-in (no silicon): the process crashed here:\n";
  if (write(2, line, sizeof line - 1) > 0) backtrace_symbols_fd(frames, depth, 2);
  _exit(128 + signal_number);
}
struct Watch {
  Watch() {
    if (option_number("BACKTRACE", 0)) std::signal(SIGSEGV, crashed);
  }
} watch;
}  // namespace

std::string last_error() {
  std::lock_guard<std::mutex> hold(lock);
  return latest;
}
}  // namespace standin
