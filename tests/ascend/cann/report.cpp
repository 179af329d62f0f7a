#include "report.h"

#include <unistd.h>

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

std::string last_error() {
  std::lock_guard<std::mutex> hold(lock);
  return latest;
}
}  // namespace standin
