// What MindSpore hands to an ahead-of-time operator, with names.
#ifndef HPC_OPS_NATIVE_AOT_H_
#define HPC_OPS_NATIVE_AOT_H_

#include <cstdint>
#include <cstring>

namespace native {

struct Arguments {
  int count;
  void** data;
  int* ranks;
  std::int64_t** shapes;
  const char** dtypes;

  template <typename T>
  T* At(int i) const {
    return static_cast<T*>(data[i]);
  }
  std::int64_t Dim(int i, int axis) const { return shapes[i][axis < 0 ? axis + ranks[i] : axis]; }
  std::int64_t Size(int i) const {
    std::int64_t size = 1;
    for (int axis = 0; axis < ranks[i]; ++axis) size *= shapes[i][axis];
    return size;
  }
  bool Is(int i, const char* dtype) const { return std::strcmp(dtypes[i], dtype) == 0; }
};

// What the framework prints when an operator returns something else than 0.
enum Status : int { kOk = 0, kWrongCount = 1, kWrongType = 2, kWrongShape = 3 };

}  // namespace native

#define NATIVE_OPERATOR(name)                                                                        \
  static int name##Body(const native::Arguments& arguments);                                         \
  extern "C" int name(int count, void** data, int* ranks, std::int64_t** shapes, const char** dtypes, \
                      void* /*stream*/, void* /*extra*/) {                                            \
    return name##Body(native::Arguments{count, data, ranks, shapes, dtypes});                        \
  }                                                                                                   \
  static int name##Body(const native::Arguments& arguments)

#endif  // HPC_OPS_NATIVE_AOT_H_
