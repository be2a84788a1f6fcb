// Convolutions in groups of 16 channels, of which each fills one vector: oneDNN's run at half the rate of its others.
#pragma once

#include <cstdint>

#include "element.hpp"

namespace halo {

// A map of (B, H, W, C) to one of (B, H', W', C), in C / 16 groups.
struct Grouped {
  int64_t batch, height, width, channels, out_height, out_width, kernel, stride, activation;
};

// Whether `convolve_groups` takes channels and strides such as these in maps of this type, on this processor.
bool takes_groups(Type type, int64_t channels, int64_t out_channels, int64_t groups, int64_t stride);

// Numbers of 32 bits that the packed weights are.
int64_t count_packed(const Grouped& shape, Type type);

// Weights (C, 16, k, k) as convolve_groups wants them for maps of this type.
void pack_weights(const Grouped& shape, Type type, const float* weights, void* packed);

// out = activation(weights * map + bias + added), where bias and added may be absent, and added may be out. All three
// maps are of `type`.
void convolve_groups(const Grouped& shape, Type type, const void* map, const void* packed, const float* bias,
                     const void* added, void* out);

}  // namespace halo
