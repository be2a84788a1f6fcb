// The logits of a tile of queries with every key of their window, positions included.
#pragma once

#include <cstring>
#include <vector>

#include "halo_blocks.hpp"
#include "tile.hpp"

namespace halo {

constexpr float OUTSIDE_LOGIT = -32768.f;

// A table of relative positions spread out for one axis: [key][d][query of a tile] of table[key - coordinate + last].
class Positions {
 public:
  Positions(const Geometry& g, const float* table, bool rows, int tile)
      : keys_(rows ? g.window.height : g.window.width),
        tile_size_(keys_ * g.dim_key * tile),
        spread_(keys_ * g.dim_key * round_up(g.queries(), tile)) {
    const int64_t size = keys_ * g.dim_key;
    const std::vector<float> nothing(size, 0.f);
    for (int64_t first = 0; first < g.queries(); first += LANES) {
      const float* row[LANES];
      for (int64_t i = 0; i < LANES; ++i) {
        const int64_t q = first + i, coordinate = rows ? q / g.query.width : q % g.query.width;
        row[i] = q < g.queries() ? table + (keys_ - 1 - coordinate) * g.dim_key : nothing.data();
      }
      turn_rows(row, size, tile, spread_.data() + first / tile * tile_size_ + first % tile);
    }
  }

  const float* tile(int64_t number) const { return spread_.data() + number * tile_size_; }

 private:
  int64_t keys_, tile_size_;
  std::vector<float> spread_;
};

// position[key][q] = sum over d of spread[key][d][q] * q[d][q]
template <int TILE>
void position_logits(int64_t keys, int64_t dim_key, const float* spread, const float* q, float* position) {
  for (int64_t key = 0; key < keys; ++key) {
    float sum[TILE] = {};
    for (int64_t d = 0; d < dim_key; ++d) {
      const float* value = spread + (key * dim_key + d) * TILE;
      for (int i = 0; i < TILE; ++i) sum[i] += value[i] * q[d * TILE + i];
    }
    std::memcpy(position + key * TILE, sum, sizeof sum);
  }
}

// Calls visit(k, its TILE logits) for each key of the window, with the logits of the block's queries, `first` and on.
template <int TILE, typename Visit>
void compute_logits(Block<TILE>& block, const float* q, int64_t first, const Positions& heights,
                    const Positions& widths, std::vector<float>& positions, float* logits, const Visit& visit) {
  const Geometry& g = block.g;
  block.read_queries(q, first);
  float *by_row = positions.data(), *by_column = positions.data() + g.window.height * TILE;
  position_logits<TILE>(g.window.height, g.dim_key, heights.tile(first / TILE), block.q_position.data(), by_row);
  position_logits<TILE>(g.window.width, g.dim_key, widths.tile(first / TILE), block.q_position.data(), by_column);
  multiply_rows<TILE>(block.key.data(), g.padded_keys(), 0, g.dim_key, block.q_key.data(), logits);
  for (int64_t k = 0, row = 0; row < g.window.height; ++row) {
    const float* in_row = by_row + row * TILE;
    for (int64_t column = 0; column < g.window.width; ++column, ++k) {
      const float* in_column = by_column + column * TILE;
      const float outside = g.mask_padding && block.pixel[k] < 0 ? OUTSIDE_LOGIT : 0.f;
      float* logit = logits + k * TILE;
      for (int i = 0; i < TILE; ++i) logit[i] += in_row[i] + in_column[i] + outside;
      visit(k, logit);
    }
  }
}

}  // namespace halo
