// aclCreate..., aclDestroy...: the arguments of aclnn operators.
#include "tensors.h"

API aclTensor* aclCreateTensor(const int64_t* shape, uint64_t rank, int type, const int64_t* strides,
                               int64_t offset, int format, const int64_t* storage,
                               uint64_t storage_rank, void* data) {
  auto* made = new aclTensor;
  made->shape.assign(shape, shape + rank);
  made->strides = strides ? Dims(strides, strides + rank) : standin::dense_strides(made->shape);
  if (storage) made->storage.assign(storage, storage + storage_rank);
  made->offset = offset;
  made->type = type;
  made->format = format;
  made->data = data;
  return made;
}
API int aclDestroyTensor(const aclTensor* tensor) {
  delete tensor;
  return 0;
}
API aclScalar* aclCreateScalar(void* value, int type) {
  auto* made = new aclScalar;
  made->type = type;
  made->real = standin::load_real(type, value, 0);
  made->whole = standin::load_whole(type, value, 0);
  return made;
}
API int aclDestroyScalar(const aclScalar* scalar) {
  delete scalar;
  return 0;
}
API aclIntArray* aclCreateIntArray(const int64_t* values, uint64_t n) {
  return new aclIntArray{Dims(values, values + n)};
}
API int aclDestroyIntArray(const aclIntArray* array) {
  delete array;
  return 0;
}
API aclFloatArray* aclCreateFloatArray(const float* values, uint64_t n) {
  return new aclFloatArray{std::vector<float>(values, values + n)};
}
API int aclDestroyFloatArray(const aclFloatArray* array) {
  delete array;
  return 0;
}
API aclBoolArray* aclCreateBoolArray(const bool* values, uint64_t n) {
  return new aclBoolArray{std::vector<char>(values, values + n)};
}
API int aclDestroyBoolArray(const aclBoolArray* array) {
  delete array;
  return 0;
}
API aclTensorList* aclCreateTensorList(const aclTensor* const* tensors, uint64_t n) {
  return new aclTensorList{std::vector<const aclTensor*>(tensors, tensors + n)};
}
API int aclDestroyTensorList(const aclTensorList* list) {
  for (const aclTensor* tensor : list->tensors) delete tensor;
  delete list;
  return 0;
}
API int aclGetViewShape(const aclTensor* tensor, int64_t** shape, uint64_t* rank) {
  *rank = tensor->shape.size();
  *shape = new int64_t[*rank];
  for (uint64_t i = 0; i < *rank; ++i) (*shape)[i] = tensor->shape[i];
  return 0;
}
