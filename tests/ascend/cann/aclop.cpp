#include "aclop.h"

#include "memory.h"
#include "report.h"

namespace {
constexpr int kOnHost = 1;  // ACL_MEMTYPE_HOST
std::map<std::string, standin::AclopBody>& table() {
  static std::map<std::string, standin::AclopBody> one;
  return one;
}
}  // namespace

struct aclTensorDesc {
  int type;
  Dims shape, storage;
  int format, storage_format = -1, placement = 0;
  std::string name;
};
struct aclDataBuffer {
  void* data;
  size_t bytes;
};

namespace standin {
AclopEntry::AclopEntry(const char* name, AclopBody body) { table()[name] = body; }

double Call::number(const std::string& name, double otherwise) const {
  auto it = attributes.numbers.find(name);
  return it == attributes.numbers.end() || it->second.empty() ? otherwise : it->second[0];
}
Dims Call::whole_numbers(const std::string& name) const {
  auto it = attributes.numbers.find(name);
  require(it != attributes.numbers.end(), "attribute " + name + " is missing");
  return Dims(it->second.begin(), it->second.end());
}
std::string Call::text(const std::string& name, const std::string& otherwise) const {
  auto it = attributes.texts.find(name);
  return it == attributes.texts.end() ? otherwise : it->second;
}
Dims host_values(const Tensor& tensor) { return read<int64_t>(tensor); }

namespace {
// The tensor of a description and its buffer; a value on the host is copied at once, into `kept`.
Tensor described(const aclTensorDesc* desc, const aclDataBuffer* buffer,
                 std::vector<std::shared_ptr<std::vector<char>>>* kept) {
  Tensor t;
  t.type = desc->type;
  t.shape = desc->shape;
  t.strides = dense_strides(t.shape);
  t.format = desc->format;
  t.data = buffer ? buffer->data : nullptr;
  if (t.type == kUndefinedType || !t.data) return Tensor{};
  if (desc->placement == kOnHost && kept) {
    const char* from = static_cast<const char*>(t.data);
    kept->push_back(std::make_shared<std::vector<char>>(from, from + count(t.shape) *
                                                                         type_bytes(t.type)));
    t.data = kept->back()->data();
  }
  return t;
}

aclError execute(const char* type, int ins, const aclTensorDesc* const* in_desc,
                 const aclDataBuffer* const* in, int outs, const aclTensorDesc* const* out_desc,
                 aclDataBuffer* const* out, const aclopAttr* attributes, aclrtStream stream) {
  const auto it = table().find(type);
  const std::string name = std::string("aclop:") + type;
  std::vector<std::shared_ptr<std::vector<char>>> kept;
  std::vector<Tensor> tensors;
  std::vector<int> roles;
  const bool in_place = std::string(type).rfind("Assign", 0) == 0;
  for (int i = 0; i < ins; ++i) {
    tensors.push_back(described(in_desc[i], in[i], &kept));
    const bool host = in_desc[i]->placement == kOnHost;
    roles.push_back(host ? 0 : in_place && i == 0 ? aclOpExecutor::kWrites : aclOpExecutor::kReads);
  }
  for (int i = 0; i < outs; ++i) {
    tensors.push_back(described(out_desc[i], out[i], nullptr));
    roles.push_back(aclOpExecutor::kWrites);
  }
  if (it == table().end()) {
    std::string shapes;
    for (const Tensor& t : tensors) {
      shapes += std::string(" ") + type_name(t.type) + standin::text(t.shape) + ":" +
                std::to_string(t.format);
    }
    const aclopAttr none, &all = attributes ? *attributes : none;
    for (const auto& [key, values] : all.numbers) {
      shapes += " " + key + "=";
      for (double v : values) shapes += std::to_string(v) + ",";
    }
    for (const auto& [key, value] : all.texts) shapes += " " + key + "=" + value;
    found("the stand-in has no operator " + name + " (" + std::to_string(ins) + " inputs):" + shapes);
    for (int i = 0; i < outs; ++i) {  // a test that keeps going wants to see all that is missing
      const auto range = extent(tensors[ins + i]);
      memory::note_written(range.pointer, range.bytes);
    }
    return option_number("KEEP_GOING", 0) ? kSuccess : kInvalidParam;
  }
  std::vector<const Tensor*> pointers;
  for (const Tensor& t : tensors) pointers.push_back(&t);
  const aclopAttr copy = attributes ? *attributes : aclopAttr{};
  const AclopBody body = it->second;
  return launch(
      name, pointers, roles,
      [body, copy, ins, kept](Tensors& t) {
        Call call{Tensors(t.begin(), t.begin() + ins), Tensors(t.begin() + ins, t.end()), copy};
        body(call);
      },
      stream);
}
}  // namespace
}  // namespace standin

API aclError aclopCompileAndExecute(const char* type, int ins, const aclTensorDesc* const* in_desc,
                                    const aclDataBuffer* const* in, int outs,
                                    const aclTensorDesc* const* out_desc, aclDataBuffer* const* out,
                                    const aclopAttr* attributes, int, int, const char*,
                                    aclrtStream stream) {
  return standin::execute(type, ins, in_desc, in, outs, out_desc, out, attributes, stream);
}
API aclError aclopCompileAndExecuteV2(const char* type, int ins, aclTensorDesc** in_desc,
                                      aclDataBuffer** in, int outs, aclTensorDesc** out_desc,
                                      aclDataBuffer** out, aclopAttr* attributes, int, int,
                                      const char*, aclrtStream stream) {
  return standin::execute(type, ins, in_desc, in, outs, out_desc, out, attributes, stream);
}
API aclError aclopSetModelDir(const char*) { return kSuccess; }
API aclError aclSetCompileopt(int, const char*) { return kSuccess; }
API aclError aclopSetCompileFlag(int) { return kSuccess; }
API aclError aclGenGraphAndDumpForOp(...) { return kSuccess; }

API aclTensorDesc* aclCreateTensorDesc(int type, int rank, const int64_t* shape, int format) {
  return new aclTensorDesc{type, Dims(shape, shape + rank), {}, format};
}
API void aclDestroyTensorDesc(const aclTensorDesc* desc) { delete desc; }
API aclError aclSetTensorFormat(aclTensorDesc* desc, int format) {
  desc->storage_format = format;
  return kSuccess;
}
API aclError aclSetTensorShape(aclTensorDesc* desc, int rank, const int64_t* shape) {
  desc->storage.assign(shape, shape + rank);
  return kSuccess;
}
API aclError aclSetTensorPlaceMent(aclTensorDesc* desc, int placement) {
  desc->placement = placement;
  return kSuccess;
}
API aclError aclSetTensorConst(aclTensorDesc*, void*, size_t) { return kSuccess; }
API void aclSetTensorDescName(aclTensorDesc* desc, const char* name) { desc->name = name; }
API size_t aclGetTensorDescNumDims(const aclTensorDesc* desc) { return desc->shape.size(); }
API aclError aclGetTensorDescDimV2(const aclTensorDesc* desc, size_t i, int64_t* size) {
  *size = desc->shape.at(i);
  return kSuccess;
}
API int64_t aclGetTensorDescDim(const aclTensorDesc* desc, size_t i) { return desc->shape.at(i); }
API size_t aclGetTensorDescSize(const aclTensorDesc* desc) {
  return standin::count(desc->shape) * standin::type_bytes(desc->type);
}
API size_t aclDataTypeSize(int type) { return standin::type_bytes(type); }
API aclDataBuffer* aclCreateDataBuffer(void* data, size_t bytes) {
  return new aclDataBuffer{data, bytes};
}
API aclError aclDestroyDataBuffer(const aclDataBuffer* buffer) {
  delete buffer;
  return kSuccess;
}
API aclError aclUpdateDataBuffer(aclDataBuffer* buffer, void* data, size_t bytes) {
  *buffer = {data, bytes};
  return kSuccess;
}
API void* aclGetDataBufferAddr(const aclDataBuffer* buffer) { return buffer->data; }

API aclopAttr* aclopCreateAttr() { return new aclopAttr; }
API void aclopDestroyAttr(const aclopAttr* attributes) { delete attributes; }
API aclError aclopSetAttrBool(aclopAttr* a, const char* name, uint8_t value) {
  a->numbers[name] = {static_cast<double>(value)};
  return kSuccess;
}
API aclError aclopSetAttrInt(aclopAttr* a, const char* name, int64_t value) {
  a->numbers[name] = {static_cast<double>(value)};
  return kSuccess;
}
API aclError aclopSetAttrFloat(aclopAttr* a, const char* name, float value) {
  a->numbers[name] = {value};
  return kSuccess;
}
API aclError aclopSetAttrDataType(aclopAttr* a, const char* name, int value) {
  a->numbers[name] = {static_cast<double>(value)};
  return kSuccess;
}
API aclError aclopSetAttrString(aclopAttr* a, const char* name, const char* value) {
  a->texts[name] = value;
  return kSuccess;
}
API aclError aclopSetAttrListBool(aclopAttr* a, const char* name, int n, const uint8_t* values) {
  a->numbers[name].assign(values, values + n);
  return kSuccess;
}
API aclError aclopSetAttrListInt(aclopAttr* a, const char* name, int n, const int64_t* values) {
  a->numbers[name].assign(values, values + n);
  return kSuccess;
}
API aclError aclopSetAttrListFloat(aclopAttr* a, const char* name, int n, const float* values) {
  a->numbers[name].assign(values, values + n);
  return kSuccess;
}
API aclError aclopSetAttrListDataType(aclopAttr* a, const char* name, int n, const int* values) {
  a->numbers[name].assign(values, values + n);
  return kSuccess;
}
API aclError aclopSetAttrListString(aclopAttr* a, const char* name, int n, const char** values) {
  for (int i = 0; i < n; ++i) a->texts[std::string(name) + std::to_string(i)] = values[i];
  return kSuccess;
}
API aclError aclopSetAttrListListInt(aclopAttr* a, const char* name, int n, const int* sizes,
                                     const int64_t* const* values) {
  for (int i = 0; i < n; ++i) a->lists[name].emplace_back(values[i], values[i] + sizes[i]);
  return kSuccess;
}
