// The older operator interface, aclopCompileAndExecute: an operator by name with described buffers.
#pragma once
#include <map>
#include <memory>
#include <string>

#include "operators.h"

struct aclopAttr {
  std::map<std::string, std::vector<double>> numbers;
  std::map<std::string, std::string> texts;
  std::map<std::string, std::vector<Dims>> lists;
};

namespace standin {
struct Call {  // what an operator's body gets
  Tensors in, out;
  aclopAttr attributes;
  double number(const std::string& name, double otherwise) const;
  Dims whole_numbers(const std::string& name) const;
  std::string text(const std::string& name, const std::string& otherwise) const;
};
using AclopBody = void (*)(Call&);
struct AclopEntry {  // registers one operator: static AclopEntry assign("Assign", body);
  AclopEntry(const char* name, AclopBody body);
};
// An input that must be there by value on the host (a shape, an axis) as whole numbers.
Dims host_values(const Tensor& tensor);
}  // namespace standin

#define ACLOP(NAME)                                                \
  static void aclop_##NAME(standin::Call& c);                      \
  static standin::AclopEntry entry_##NAME(#NAME, aclop_##NAME);    \
  static void aclop_##NAME(standin::Call& c)
