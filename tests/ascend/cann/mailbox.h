// Messages between processes of one host: a file each in a shared folder, complete once it has its
// name. Slow and simple; what it is for is the matching of what the ranks say.
#pragma once
#include <functional>
#include <string>
#include <vector>

namespace standin {
struct Note {           // what a rank says it is doing, beside the bytes it brings
  std::string operation;  // AllReduce, Send ...
  uint64_t count = 0;
  int type = 0;           // HcclDataType
  int detail = 0;         // root, or the reduction
  std::string text() const;
};

class Mailbox {
 public:
  explicit Mailbox(std::string folder) : folder_(std::move(folder)) {}
  void post(const std::string& name, const Note& note, const void* data, size_t bytes);
  // Waits for the message; false after `timeout_s` or once `give_up` says so.
  bool take(const std::string& name, double timeout_s, Note* note, std::vector<char>* data);
  bool wait_gone(const std::string& name, double timeout_s);
  void remove(const std::string& name);
  bool has(const std::string& name) const;
  // The last words of a rank: what it does now, for the line that names a deadlock.
  void set_status(int rank, const std::string& text);
  std::string status(int rank) const;

 private:
  bool wait(const std::function<bool()>& ready, double timeout_s) const;
  std::string folder_;
};
}  // namespace standin
