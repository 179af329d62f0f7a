#include "mailbox.h"

#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>
#include <thread>

#include "streams.h"

namespace standin {
namespace {
const char* type_name(int type) {
  static const char* names[] = {"int8",   "int16",  "int32",  "float16", "float32", "int64",
                                "uint64", "uint8",  "uint16", "uint32",  "float64", "bfloat16"};
  return type >= 0 && type < 12 ? names[type] : "unknown type";
}
}  // namespace

std::string Note::text() const {
  return operation + " of " + std::to_string(count) + " " + type_name(type) + " (" +
         std::to_string(detail) + ")";
}

void Mailbox::post(const std::string& name, const Note& note, const void* data, size_t bytes) {
  const std::string aside = folder_ + "/." + name, path = folder_ + "/" + name;
  FILE* file = std::fopen(aside.c_str(), "wb");
  if (!file) return;
  std::fprintf(file, "%s %llu %d %d\n", note.operation.c_str(),
               static_cast<unsigned long long>(note.count), note.type, note.detail);
  if (bytes) std::fwrite(data, 1, bytes, file);
  std::fclose(file);
  std::rename(aside.c_str(), path.c_str());
}

bool Mailbox::wait(const std::function<bool()>& ready, double timeout_s) const {
  const auto start = std::chrono::steady_clock::now();
  for (long turn = 0;; ++turn) {
    if (ready()) return true;
    if (Stream::failure()) return false;
    if (std::chrono::steady_clock::now() - start > std::chrono::duration<double>(timeout_s)) {
      return false;
    }
    std::this_thread::sleep_for(std::chrono::microseconds(turn < 200 ? 50 : 1000));
  }
}

bool Mailbox::has(const std::string& name) const {
  return access((folder_ + "/" + name).c_str(), F_OK) == 0;
}

bool Mailbox::take(const std::string& name, double timeout_s, Note* note, std::vector<char>* data) {
  if (!wait([&] { return has(name); }, timeout_s)) return false;
  std::ifstream file(folder_ + "/" + name, std::ios::binary);
  std::string line;
  std::getline(file, line);
  std::istringstream words(line);
  words >> note->operation >> note->count >> note->type >> note->detail;
  std::ostringstream rest;
  rest << file.rdbuf();
  const std::string bytes = rest.str();
  data->assign(bytes.begin(), bytes.end());
  return true;
}

bool Mailbox::wait_gone(const std::string& name, double timeout_s) {
  return wait([&] { return !has(name); }, timeout_s);
}

void Mailbox::remove(const std::string& name) { unlink((folder_ + "/" + name).c_str()); }

void Mailbox::set_status(int rank, const std::string& text) {
  const std::string path = folder_ + "/status." + std::to_string(rank), aside = path + ".new";
  std::ofstream(aside) << text;
  std::rename(aside.c_str(), path.c_str());
}

std::string Mailbox::status(int rank) const {
  std::ifstream file(folder_ + "/status." + std::to_string(rank));
  std::string text;
  std::getline(file, text);
  return text.empty() ? "nothing yet" : text;
}
}  // namespace standin
