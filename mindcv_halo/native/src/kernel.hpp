// What MindSpore hands to an operator of our own (ops.Custom, func_type "aot"): inputs first, then outputs.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <vector>

#include "element.hpp"

namespace halo {

class Arguments {
 public:
  // `types` are MindSpore's names.
  Arguments(int count, void** params, int* ndims, int64_t** shapes, const char** types)
      : count_(count), params_(params), ndims_(ndims), shapes_(shapes), types_(count) {
    for (int index = 0; index < count; ++index) types_[index] = read_type(types[index]);
  }

  int count() const { return count_; }  // of inputs and outputs
  Type type(int index) const { return types_[index]; }

  // Its numbers. Throws unless they are of this kind.
  template <typename Element>
  Element* elements(int index) const {
    if (types_[index] != type_of<Element>) throw std::invalid_argument("argument " + describe(index) + " is of another type");
    return static_cast<Element*>(params_[index]);
  }
  float* floats(int index) const { return elements<float>(index); }
  void* data(int index) const { return params_[index]; }
  const int64_t* settings(int index) const { return elements<int64_t>(index); }
  int64_t side(int index, int axis) const { return shapes_[index][axis]; }

  int axes(int index) const { return ndims_[index]; }

  int64_t size(int index) const {
    int64_t size = 1;
    for (int axis = 0; axis < ndims_[index]; ++axis) size *= shapes_[index][axis];
    return size;
  }

  // Throws unless there are this many arguments: a kernel indexes by what it is given, and must not read beyond.
  void expect_count(int count) const {
    if (count_ != count) throw std::length_error("takes " + std::to_string(count) + " arguments, and got " + std::to_string(count_));
  }
  // Throws unless the argument has these sides.
  void expect(int index, std::initializer_list<int64_t> sides) const {
    bool fits = ndims_[index] == static_cast<int>(sides.size());
    int axis = 0;
    for (const int64_t side : sides) fits = fits && shapes_[index][axis++] == side;
    if (!fits) throw std::length_error("argument " + describe(index) + " must be " + describe(sides.begin(), sides.end()));
  }
  // Throws unless the argument has `size` numbers, under whatever shape.
  void expect_size(int index, int64_t size) const {
    if (this->size(index) != size) {
      throw std::length_error("argument " + describe(index) + " must hold " + std::to_string(size) + " numbers");
    }
  }
  void expect_same(int index, int other) const {
    bool fits = ndims_[index] == ndims_[other];
    for (int axis = 0; fits && axis < ndims_[index]; ++axis) fits = shapes_[index][axis] == shapes_[other][axis];
    if (!fits) throw std::length_error("argument " + describe(index) + " must be as argument " + describe(other));
  }
  // Throws unless the argument is a map with something in it.
  void expect_map(int index) const {
    if (ndims_[index] != 4 || size(index) < 1) {
      throw std::length_error("argument " + describe(index) + " must be a map of 4 axes, none of them empty");
    }
  }

 private:
  std::string describe(int index) const {
    return std::to_string(index) + " of " + describe(shapes_[index], shapes_[index] + ndims_[index]);
  }
  static std::string describe(const int64_t* begin, const int64_t* end) {
    std::string words = "(";
    for (const int64_t* side = begin; side != end; ++side) words += (side == begin ? "" : ", ") + std::to_string(*side);
    return words + ")";
  }

  int count_;
  void** params_;
  int* ndims_;
  int64_t** shapes_;
  std::vector<Type> types_;
};

using Kernel = int(int count, void** params, int* ndims, int64_t** shapes, const char**, void*, void*);

struct Entry {
  const char* name;
  Kernel* run;
};

// All kernels; plans name one by its place.
inline std::vector<Entry>& kernels() {
  static std::vector<Entry> entries;
  return entries;
}

inline bool enter(const char* name, Kernel* run) {
  kernels().push_back({name, run});
  return true;
}

// Why the last kernel of this thread gave up.
inline std::string& refusal() {
  thread_local std::string words;
  return words;
}

// Printed too, as MindSpore says only that some operator failed.
inline int refuse(const char* name, const std::exception& error) {
  refusal() = std::string(name) + ": " + error.what();
  std::fprintf(stderr, "%s\n", refusal().c_str());
  return 1;
}

}  // namespace halo

// Defines an operator that MindSpore and plans can call: HALO_KERNEL(name) { ... args ... }
#define HALO_KERNEL(name)                                                                               \
  static void name##_body(const halo::Arguments& args);                                                 \
  extern "C" int name(int count, void** params, int* ndims, int64_t** shapes, const char** types, void*, void*) { \
    try {                                                                                               \
      name##_body(halo::Arguments(count, params, ndims, shapes, types));                                \
      return 0;                                                                                         \
    } catch (const std::exception& error) {                                                             \
      return halo::refuse(#name, error);                                                                \
    }                                                                                                   \
  }                                                                                                     \
  static const bool name##_entered = halo::enter(#name, name);                                          \
  static void name##_body(const halo::Arguments& args)
