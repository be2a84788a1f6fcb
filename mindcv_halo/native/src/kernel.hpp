// What MindSpore hands to an operator of our own (ops.Custom, func_type "aot"): inputs first, then outputs.
#pragma once

#include <cstdint>
#include <cstdio>
#include <exception>

namespace halo {

class Arguments {
 public:
  Arguments(int count, void** params, int* ndims, int64_t** shapes)
      : count_(count), params_(params), ndims_(ndims), shapes_(shapes) {}

  int count() const { return count_; }  // of inputs and outputs

  float* floats(int index) const { return static_cast<float*>(params_[index]); }
  const int64_t* settings(int index) const { return static_cast<const int64_t*>(params_[index]); }
  int64_t side(int index, int axis) const { return shapes_[index][axis]; }

  int64_t size(int index) const {
    int64_t size = 1;
    for (int axis = 0; axis < ndims_[index]; ++axis) size *= shapes_[index][axis];
    return size;
  }

 private:
  int count_;
  void** params_;
  int* ndims_;
  int64_t** shapes_;
};

using Kernel = int(int count, void** params, int* ndims, int64_t** shapes, const char**, void*, void*);

}  // namespace halo

// Kernels that others run, too.
extern "C" {
halo::Kernel convolution, batch_norm_inference, halo_attention, max_pool, mean_pixels, channel_gate, neighbour_channels,
    channels_last;
}

// Defines an operator that MindSpore can call: HALO_KERNEL(name) { ... args ... }
#define HALO_KERNEL(name)                                                                               \
  static void name##_body(const halo::Arguments& args);                                                 \
  extern "C" int name(int count, void** params, int* ndims, int64_t** shapes, const char**, void*, void*) { \
    try {                                                                                               \
      name##_body(halo::Arguments(count, params, ndims, shapes));                                       \
      return 0;                                                                                         \
    } catch (const std::exception& error) {                                                             \
      std::fprintf(stderr, "%s: %s\n", #name, error.what());                                            \
      return 1;                                                                                         \
    }                                                                                                   \
  }                                                                                                     \
  static void name##_body(const halo::Arguments& args)
