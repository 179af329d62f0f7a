// Tells MindSpore's compiler, in this process, that a device target "Ascend" exists and how many
// ranks there are. Its front end asks for no more before it cuts a graph by pipeline stages.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "include/utils/comm_manager.h"

namespace mindspore {
class MsContext {
 public:
  static void RegisterInitFunc(const std::string &name, void (*init)(MsContext *));
};

namespace {
class StatedRanks : public CommManager {
 public:
  StatedRanks(unsigned int rank, unsigned int size) : CommManager("hccl"), rank_(rank), size_(size) {}
  bool CreateGroupSync(const std::string &, const std::vector<unsigned int> &) const override { return true; }
  bool DestroyGroup(const std::string &) const override { return true; }
  bool GetRankID(const std::string &, unsigned int *rank) const override {
    *rank = rank_;
    return true;
  }
  bool GetRankSize(const std::string &, unsigned int *size) const override {
    *size = size_;
    return true;
  }
  uint32_t GetRank() override { return rank_; }

 private:
  unsigned int rank_;
  unsigned int size_;
};
}  // namespace
}  // namespace mindspore

extern "C" void as_ascend(unsigned int rank, unsigned int size) {
  mindspore::MsContext::RegisterInitFunc("Ascend", [](mindspore::MsContext *) {});
  mindspore::CommManager::Register("Ascend", std::make_shared<mindspore::StatedRanks>(rank, size));
}
