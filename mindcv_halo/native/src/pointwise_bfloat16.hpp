// 1x1 convolutions of bfloat16 maps on AMX, whose sums, bias, shortcut and activation stay in the cache. oneDNN's reach a
// third of the rate with them, and their SiLU takes longer than the product.
#pragma once

#include <cstdint>

#include "element.hpp"

namespace halo {

// A map of (B, H, W, channels) to one of (B, H', W', out_channels).
struct Pointwise {
  int64_t batch, height, width, channels, out_height, out_width, out_channels, stride, activation;
};

// Whether `multiply_pixels` takes channels such as these, on this processor.
bool takes_pixels(int64_t channels, int64_t out_channels);

// Numbers of 32 bits that the packed weights are.
int64_t count_packed(const Pointwise& shape);

// Weights (out_channels, channels) as multiply_pixels wants them.
void pack_weights(const Pointwise& shape, const float* weights, uint32_t* packed);

// out = activation(weights * map + bias + added), where bias and added may be absent, and added may be out.
void multiply_pixels(const Pointwise& shape, const bfloat16* map, const uint32_t* packed, const float* bias,
                     const bfloat16* added, bfloat16* out);

}  // namespace halo
