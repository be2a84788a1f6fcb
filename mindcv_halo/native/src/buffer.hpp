// Memory that grows and stays.
#pragma once

#include <cstdlib>
#include <new>
#include <utility>

namespace halo {

class Buffer {
 public:
  Buffer() = default;
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  ~Buffer() { std::free(data_); }

  void* data() const { return data_; }

  // At least `size` bytes, on a line of the cache; what was there before is lost if they are more than ever.
  void* reserve(size_t size) {
    if (size > size_) {
      const size_t rounded = (size + 63) / 64 * 64;
      std::free(data_);
      size_ = 0;
      data_ = std::aligned_alloc(64, rounded);
      if (data_ == nullptr) throw std::bad_alloc();
      size_ = rounded;
    }
    return data_;
  }

 private:
  void* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace halo
