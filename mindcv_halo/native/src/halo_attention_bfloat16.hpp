// Halo attention of bfloat16 maps by products of tiles.
#pragma once

#include "halo_blocks.hpp"

namespace halo {

// As halo_attention of float32, whose arguments these are. Throws where the processor has no such products.
void attend_bfloat16(const Geometry& g, const bfloat16* q, const bfloat16* kv, const float* height_rel,
                     const float* width_rel, bfloat16* out, float* scales);

}  // namespace halo
