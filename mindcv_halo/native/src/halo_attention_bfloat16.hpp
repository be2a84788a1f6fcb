// Halo attention of bfloat16 maps by products of tiles.
#pragma once

#include "halo_blocks.hpp"

namespace halo {

// As halo_attention of float32, whose arguments these are. Throws where the processor has no such products.
void attend_bfloat16(const Geometry& g, const bfloat16* q, const bfloat16* kv, const float* height_rel,
                     const float* width_rel, bfloat16* out, float* scales);

struct ShortGradients {
  const bfloat16 *diff_out, *q, *kv;
  const float *height_rel, *width_rel, *scales;
  bfloat16 *diff_q, *diff_kv;
  float *diff_height_rel, *diff_width_rel;
};

// Whether there are such products for the gradients of this attention.
bool can_differentiate_bfloat16(const Geometry& g);

// As halo_attention_backward of float32. Throws where the processor has no such products.
void differentiate_bfloat16(const Geometry& g, const ShortGradients& data);

}  // namespace halo
