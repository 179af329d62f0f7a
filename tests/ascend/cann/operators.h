// How an operator is written: an executor that names what it reads and writes, and a body that
// gets copies of those tensors (with the addresses of the launch) when its turn in the stream comes.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "streams.h"
#include "tensors.h"

namespace standin {
using Tensors = std::vector<Tensor>;
using Body = std::function<void(Tensors&)>;
}  // namespace standin

struct aclOpExecutor {
  enum Role { kReads = 1, kWrites = 2 };
  std::string name;
  std::vector<const aclTensor*> tensors;
  std::vector<int> roles;
  standin::Body body;
  bool repeatable = false;

  aclOpExecutor& in(const aclTensor* t) { return add(t, kReads); }
  aclOpExecutor& out(const aclTensor* t) { return add(t, kWrites); }
  aclOpExecutor& update(const aclTensor* t) { return add(t, kReads | kWrites); }
  aclOpExecutor& in(const aclTensorList* list) { return add(list, kReads); }
  aclOpExecutor& out(const aclTensorList* list) { return add(list, kWrites); }
  int run(standin::Body work) {
    body = std::move(work);
    return 0;
  }

 private:
  aclOpExecutor& add(const aclTensor* t, int role) {
    tensors.push_back(t);
    roles.push_back(role);
    return *this;
  }
  aclOpExecutor& add(const aclTensorList* list, int role) {
    for (const aclTensor* t : list->tensors) add(t, role);
    return *this;
  }
};

namespace standin {
// Runs `body` over copies of `tensors`; also the way of the older aclop interface.
aclError launch(const std::string& name, const std::vector<const Tensor*>& tensors,
                const std::vector<int>& roles, Body body, aclrtStream stream);
aclError launch(aclOpExecutor* executor, aclrtStream stream);
aclOpExecutor& begin(const char* name, uint64_t* workspace, aclOpExecutor** executor);
// Ends with a line that names the operator unless `right`.
void require(bool right, const std::string& what);
}  // namespace standin

// The two functions of one aclnn operator; inside the braces OP is its executor:
// ACLNN(Neg, const aclTensor* x, const aclTensor* y) { return OP.in(x).out(y).run(...); }
#define ACLNN(NAME, ...)                                                              \
  API int aclnn##NAME(void*, uint64_t, aclOpExecutor* executor, aclrtStream stream) { \
    return standin::launch(executor, stream);                                         \
  }                                                                                   \
  API int aclnn##NAME##GetWorkspaceSize(__VA_ARGS__, uint64_t* workspace_, aclOpExecutor** executor_)
#define OP standin::begin(__func__, workspace_, executor_)
