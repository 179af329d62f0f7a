// ge::, the graph compiler's C++ interface. MindSpore describes operators through it even where it
// never builds a graph; kept are attributes and names, which it reads back. Built with the old ABI
// of std::string, as the vendor's libraries are.
#include <any>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#pragma GCC visibility push(default)

namespace ge {
using Status = uint32_t;
using Text = std::string;
using Whole = std::vector<int64_t>;
enum DataType : int {};
enum Format : int {};
class Graph;
constexpr Status kNotThere = 1;

Status GEInitialize(const std::map<Text, Text>&) { return 0; }

class AscendString {
 public:
  AscendString(const char* text);
  const char* GetString() const;

 private:
  std::shared_ptr<Text> text_;
};
AscendString::AscendString(const char* text) : text_(std::make_shared<Text>(text ? text : "")) {}
const char* AscendString::GetString() const { return text_ ? text_->c_str() : ""; }

class Shape {
 public:
  Shape();
  explicit Shape(const Whole& dims);
  size_t GetDimNum() const;
  Status SetDim(size_t i, int64_t size);
  int64_t GetDim(size_t i) const;
  Whole GetDims() const;

 private:
  std::shared_ptr<Whole> dims_;
};
Shape::Shape() : dims_(std::make_shared<Whole>()) {}
Shape::Shape(const Whole& dims) : dims_(std::make_shared<Whole>(dims)) {}
size_t Shape::GetDimNum() const { return dims_->size(); }
Status Shape::SetDim(size_t i, int64_t size) { return dims_->at(i) = size, 0; }
int64_t Shape::GetDim(size_t i) const { return dims_->at(i); }
Whole Shape::GetDims() const { return *dims_; }

class TensorDesc {
 public:
  TensorDesc();
  TensorDesc(Shape shape, Format format, DataType type);
  TensorDesc(const TensorDesc& other);
  TensorDesc(TensorDesc&& other);
  Shape GetShape() const;
  Format GetFormat() const;
  DataType GetDataType() const;
  void SetShape(const Shape& shape);
  void SetOriginShape(const Shape& shape);
  void SetFormat(Format format);
  void SetOriginFormat(Format format);
  void SetDataType(DataType type);
  void SetRealDimCnt(int64_t count);

 private:
  struct Kept {
    Shape shape;
    Format format{};
    DataType type{};
  };
  std::shared_ptr<Kept> kept_;
};
TensorDesc::TensorDesc() : kept_(std::make_shared<Kept>()) {}
TensorDesc::TensorDesc(Shape shape, Format format, DataType type)
    : kept_(std::make_shared<Kept>(Kept{shape, format, type})) {}
TensorDesc::TensorDesc(const TensorDesc& other) : kept_(std::make_shared<Kept>(*other.kept_)) {}
TensorDesc::TensorDesc(TensorDesc&& other) : kept_(other.kept_) {}
Shape TensorDesc::GetShape() const { return kept_->shape; }
Format TensorDesc::GetFormat() const { return kept_->format; }
DataType TensorDesc::GetDataType() const { return kept_->type; }
void TensorDesc::SetShape(const Shape& shape) { kept_->shape = shape; }
void TensorDesc::SetOriginShape(const Shape&) {}
void TensorDesc::SetFormat(Format format) { kept_->format = format; }
void TensorDesc::SetOriginFormat(Format) {}
void TensorDesc::SetDataType(DataType type) { kept_->type = type; }
void TensorDesc::SetRealDimCnt(int64_t) {}

class Tensor {
 public:
  Tensor();
  explicit Tensor(const TensorDesc& desc);
  Tensor(const TensorDesc& desc, const uint8_t* data, size_t bytes);
  TensorDesc GetTensorDesc() const;
  uint8_t* GetData();
  size_t GetSize() const;
  Status SetData(const uint8_t* data, size_t bytes);
  Status SetData(uint8_t* data, size_t bytes, const std::function<void(uint8_t*)>& release);

 private:
  struct Kept {
    TensorDesc desc;
    std::vector<uint8_t> data;
  };
  std::shared_ptr<Kept> kept_;
};
Tensor::Tensor() : kept_(std::make_shared<Kept>()) {}
Tensor::Tensor(const TensorDesc& desc) : kept_(std::make_shared<Kept>(Kept{desc, {}})) {}
Tensor::Tensor(const TensorDesc& desc, const uint8_t* data, size_t bytes)
    : kept_(std::make_shared<Kept>(Kept{desc, {data, data + bytes}})) {}
TensorDesc Tensor::GetTensorDesc() const { return kept_->desc; }
uint8_t* Tensor::GetData() { return kept_->data.data(); }
size_t Tensor::GetSize() const { return kept_->data.size(); }
Status Tensor::SetData(const uint8_t* data, size_t n) { return kept_->data.assign(data, data + n), 0; }
Status Tensor::SetData(uint8_t* data, size_t n, const std::function<void(uint8_t*)>& release) {
  kept_->data.assign(data, data + n);
  if (release) release(data);
  return 0;
}

struct OperatorImpl {
  Text name, type;
  std::map<Text, std::any> attributes;
};

class Operator {
 public:
  Operator() = default;
  explicit Operator(const Text& type);
  Operator(const Text& name, const Text& type);
  Operator(const AscendString& name, const AscendString& type);
  virtual ~Operator() = default;

  Text GetName() const;
  Text GetOpType() const;
  Status GetName(AscendString& name) const;
  Status GetOpType(AscendString& type) const;
  int GetDynamicOutputNum(const Text& name) const;

#define ATTRIBUTE_BY(NAME_TYPE, ...)                       \
  Operator& SetAttr(NAME_TYPE name, __VA_ARGS__ value);
#define READ_BY(NAME_TYPE, ...) Status GetAttr(NAME_TYPE name, __VA_ARGS__& value) const;
#include "graph_engine_attributes.h"
#undef ATTRIBUTE_BY
#undef READ_BY
  void AttrRegister(const char* name, const AscendString& value);
  void AttrRegister(const char* name, const DataType& value);
  void AttrRegister(const char* name, const std::vector<AscendString>& value);
  void AttrRegister(const char* name, const std::vector<float>& value);
  void AttrRegister(const char* name, const Whole& value);
  void AttrRegister(const char* name, bool value);
  void AttrRegister(const char* name, float value);
  void AttrRegister(const char* name, int64_t value);
  void RequiredAttrRegister(const Text&);
  void RequiredAttrWithTypeRegister(const char*, const char*);
  void InputRegister(const char*, const char*);
  void InputRegister(const Text&);
  void OptionalInputRegister(const char*, const char*);
  void OptionalInputRegister(const Text&);
  void OutputRegister(const char*, const char*);
  void OutputRegister(const Text&);
  void DynamicInputRegister(const char*, unsigned, const char*, bool);
  void DynamicInputRegisterByIndex(const char*, unsigned, size_t);
  void DynamicOutputRegister(const char*, unsigned, const char*, bool);
  void SubgraphCountRegister(const char*, unsigned);
  void SetSubgraphBuilder(const char*, unsigned, const std::function<Graph()>&);
  void InferFuncRegister(const std::function<Status(Operator&)>&);
  Status UpdateInputDesc(const char*, const TensorDesc&);
  Status UpdateInputDesc(const Text&, const TensorDesc&);
  Status UpdateOutputDesc(const char*, const TensorDesc&);
  Status UpdateOutputDesc(const Text&, const TensorDesc&);
  Status UpdateDynamicOutputDesc(const char*, unsigned, const TensorDesc&);
  Operator& SetInput(const char*, const Operator&);
  Operator& SetInput(const char*, unsigned, const Operator&);
  Operator& SetInput(const char*, unsigned, const Operator&, const char*);
  Operator& SetInput(const Text&, const Operator&);
  Operator& SetInput(const Text&, const Operator&, const Text&);

 private:
  template <class T>
  Operator& keep(const Text& name, const T& value) {
    if (!impl_) impl_ = std::make_shared<OperatorImpl>();
    impl_->attributes[name] = value;
    return *this;
  }
  template <class T>
  Status give(const Text& name, T* value) const {
    *value = T{};  // the creators that know the defaults are not here: no, zero, empty
    if (!impl_) return kNotThere;
    auto it = impl_->attributes.find(name);
    if (it == impl_->attributes.end()) return kNotThere;
    const T* kept = std::any_cast<T>(&it->second);
    return kept ? (*value = *kept, 0) : kNotThere;
  }
  std::shared_ptr<OperatorImpl> impl_;
};

Operator::Operator(const Text& type) : Operator(type, type) {}
Operator::Operator(const Text& name, const Text& type)
    : impl_(std::make_shared<OperatorImpl>(OperatorImpl{name, type, {}})) {}
Operator::Operator(const AscendString& name, const AscendString& type)
    : Operator(Text(name.GetString()), Text(type.GetString())) {}
Text Operator::GetName() const { return impl_ ? impl_->name : ""; }
Text Operator::GetOpType() const { return impl_ ? impl_->type : ""; }
Status Operator::GetName(AscendString& name) const { return name = GetName().c_str(), 0; }
Status Operator::GetOpType(AscendString& type) const { return type = GetOpType().c_str(), 0; }
int Operator::GetDynamicOutputNum(const Text&) const { return 0; }

#define ATTRIBUTE_BY(NAME_TYPE, ...)                                  \
  Operator& Operator::SetAttr(NAME_TYPE name, __VA_ARGS__ value) {    \
    return keep(name, value);                                         \
  }
#define READ_BY(NAME_TYPE, ...)                                       \
  Status Operator::GetAttr(NAME_TYPE name, __VA_ARGS__& value) const { \
    return give(name, &value);                                        \
  }
#include "graph_engine_attributes.h"
#undef ATTRIBUTE_BY
#undef READ_BY

void Operator::AttrRegister(const char* n, const AscendString& v) { keep(n, Text(v.GetString())); }
void Operator::AttrRegister(const char* n, const DataType& v) { keep(n, v); }
void Operator::AttrRegister(const char* n, const std::vector<AscendString>& v) {
  std::vector<Text> texts;
  for (const auto& each : v) texts.push_back(each.GetString());
  keep(n, texts);
}
void Operator::AttrRegister(const char* n, const std::vector<float>& v) { keep(n, v); }
void Operator::AttrRegister(const char* n, const Whole& v) { keep(n, v); }
void Operator::AttrRegister(const char* n, bool v) { keep(n, v); }
void Operator::AttrRegister(const char* n, float v) { keep(n, v); }
void Operator::AttrRegister(const char* n, int64_t v) { keep(n, v); }
void Operator::RequiredAttrRegister(const Text&) {}
void Operator::RequiredAttrWithTypeRegister(const char*, const char*) {}
void Operator::InputRegister(const char*, const char*) {}
void Operator::InputRegister(const Text&) {}
void Operator::OptionalInputRegister(const char*, const char*) {}
void Operator::OptionalInputRegister(const Text&) {}
void Operator::OutputRegister(const char*, const char*) {}
void Operator::OutputRegister(const Text&) {}
void Operator::DynamicInputRegister(const char*, unsigned, const char*, bool) {}
void Operator::DynamicInputRegisterByIndex(const char*, unsigned, size_t) {}
void Operator::DynamicOutputRegister(const char*, unsigned, const char*, bool) {}
void Operator::SubgraphCountRegister(const char*, unsigned) {}
void Operator::InferFuncRegister(const std::function<Status(Operator&)>&) {}
Status Operator::UpdateInputDesc(const char*, const TensorDesc&) { return 0; }
Status Operator::UpdateInputDesc(const Text&, const TensorDesc&) { return 0; }
Status Operator::UpdateOutputDesc(const char*, const TensorDesc&) { return 0; }
Status Operator::UpdateOutputDesc(const Text&, const TensorDesc&) { return 0; }
Status Operator::UpdateDynamicOutputDesc(const char*, unsigned, const TensorDesc&) { return 0; }
Operator& Operator::SetInput(const char*, const Operator&) { return *this; }
Operator& Operator::SetInput(const char*, unsigned, const Operator&) { return *this; }
Operator& Operator::SetInput(const char*, unsigned, const Operator&, const char*) { return *this; }
Operator& Operator::SetInput(const Text&, const Operator&) { return *this; }
Operator& Operator::SetInput(const Text&, const Operator&, const Text&) { return *this; }

// Every operator that MindSpore's table names exists; what it can do shows when it is launched.
class OperatorFactory {
 public:
  static Operator CreateOperator(const char* name, const char* type);
  static Operator CreateOperator(const Text& name, const Text& type);
  static bool IsExistOp(const char* type);
  static bool IsExistOp(const Text& type);
};
Operator OperatorFactory::CreateOperator(const char* name, const char* type) {
  return Operator(Text(name), Text(type));
}
Operator OperatorFactory::CreateOperator(const Text& n, const Text& t) { return Operator(n, t); }
bool OperatorFactory::IsExistOp(const char*) { return true; }
bool OperatorFactory::IsExistOp(const Text&) { return true; }
}  // namespace ge
