// Maps of bfloat16 for what computes in float32.
#pragma once

#include <memory>

#include "element.hpp"
#include "threads.hpp"

namespace halo {

// Numbers that are as exact as bfloat16 in float32, or zeros.
class Widened {
 public:
  explicit Widened(int64_t size) : size_(size), numbers_(new float[size]()) {}
  template <typename Element>
  Widened(const Element* source, int64_t size) : size_(size), numbers_(new float[size]) {
    parallel_ranges(size, [&](int, int64_t begin, int64_t end) {
#pragma GCC ivdep
      for (int64_t i = begin; i < end; ++i) numbers_[i] = bfloat16(source[i]);
    });
  }

  void narrow(bfloat16* target) const {
    parallel_ranges(size_, [&](int, int64_t begin, int64_t end) {
#pragma GCC ivdep
      for (int64_t i = begin; i < end; ++i) target[i] = bfloat16(numbers_[i]);
    });
  }
  float* data() const { return numbers_.get(); }

 private:
  int64_t size_;
  std::unique_ptr<float[]> numbers_;
};

}  // namespace halo
