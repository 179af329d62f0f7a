#include "operators.h"

#include "faults.h"
#include "report.h"

namespace standin {
aclOpExecutor& begin(const char* function, uint64_t* workspace, aclOpExecutor** executor) {
  auto* made = new aclOpExecutor;
  made->name = function;
  made->name.resize(made->name.size() - std::strlen("GetWorkspaceSize"));
  *workspace = 0;
  *executor = made;
  return *made;
}

void require(bool right, const std::string& what) {
  if (!right) throw std::runtime_error(what);
}

aclError launch(const std::string& name, const std::vector<const Tensor*>& tensors,
                const std::vector<int>& roles, Body body, aclrtStream stream) {
  if (faults::due("device_lost")) {
    Stream::fail_all(kLostHeartbeat, "device lost at the launch of " + name);
    return kLostHeartbeat;
  }
  Tensors copies;
  std::vector<ordering::Range> reads, writes;
  for (size_t i = 0; i < tensors.size(); ++i) {
    copies.push_back(tensors[i] ? *tensors[i] : Tensor{});
    const auto range = extent(copies.back());
    if (roles[i] & aclOpExecutor::kReads) reads.push_back(range);
    if (roles[i] & aclOpExecutor::kWrites) writes.push_back(range);
  }
  const auto work = [name, copies, body]() mutable {
    try {
      body(copies);
    } catch (const std::exception& error) {
      std::string shapes;
      for (const Tensor& t : copies) {
        if (t.present()) shapes += std::string(" ") + type_name(t.type) + text(t.shape);
      }
      found(name + ": " + error.what() + "; tensors:" + shapes);
    }
  };
  return stream_of(stream)->launch(name, work, reads, writes);
}

aclError launch(aclOpExecutor* executor, aclrtStream stream) {
  if (!executor) return kSuccess;  // prepared by a stub, which has said so
  const aclError code = launch(executor->name, executor->tensors, executor->roles, executor->body,
                               stream);
  if (!executor->repeatable) delete executor;
  return code;
}
}  // namespace standin

API int aclnnInit(const char*) { return 0; }
API int aclnnFinalize() { return 0; }
API int aclSetAclOpExecutorRepeatable(aclOpExecutor* executor) {
  if (executor) executor->repeatable = true;  // null after a stub, where tests keep going
  return 0;
}
API int aclDestroyAclOpExecutor(aclOpExecutor* executor) {
  delete executor;
  return 0;
}
API int aclSetTensorAddr(aclOpExecutor*, size_t, aclTensor* tensor, void* data) {
  if (tensor) tensor->data = data;  // an optional tensor may be absent
  return 0;
}
API int aclSetInputTensorAddr(aclOpExecutor*, size_t, aclTensor* tensor, void* data) {
  if (tensor) tensor->data = data;  // an optional tensor may be absent
  return 0;
}
API int aclSetOutputTensorAddr(aclOpExecutor*, size_t, aclTensor* tensor, void* data) {
  if (tensor) tensor->data = data;  // an optional tensor may be absent
  return 0;
}
API int aclSetDynamicTensorAddr(aclOpExecutor*, size_t, size_t index, aclTensorList* list,
                                void* data) {
  const_cast<aclTensor*>(list->tensors.at(index))->data = data;
  return 0;
}

// The cache of executors that the vendor keeps for eager mode: ours is always empty.
API void InitPTACacheThreadLocal() {}
API void SetPTAHashKey(uint64_t) {}
API bool CanUsePTACache(const char*) { return false; }
API aclOpExecutor* PTAGetExecCache(uint64_t, uint64_t*) { return nullptr; }
API void AddTensorAddrToCachedList(void*) {}
API int InitHugeMemThreadLocal(void*, bool) { return 0; }
API int UnInitHugeMemThreadLocal(void*, bool) { return 0; }
API int ReleaseHugeMem(void*, bool) { return 0; }
