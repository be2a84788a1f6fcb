// Halo attention on channels-last maps, without storing windows or attention weights.
//
// One task is a block of queries of one head. Its logits are kept as (keys, queries), a tile of queries at a time, with
// queries along the vectors' lanes: a softmax is then a walk over rows, keys are read where they lie in the map, and
// the position logits of a key's row and column are two rows to add.
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

#include "activation.hpp"
#include "kernel.hpp"
#include "threads.hpp"

namespace halo {
namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, UNROLL = 8;
#elif defined(__AVX2__)
constexpr int LANES = 8, UNROLL = 4;
#else
constexpr int LANES = 4, UNROLL = 8;
#endif

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

constexpr float OUTSIDE_LOGIT = -65504.f;

Vector& vector_at(float* data) { return *reinterpret_cast<Vector*>(data); }
const Vector& vector_at(const float* data) { return *reinterpret_cast<const Vector*>(data); }

int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

struct Geometry {
  int64_t batch, height, width, heads, dim_key, dim_value;
  int64_t query_height, query_width, out_height, out_width;
  int64_t block, halo, query;  // sides of a block in pixels of the map, of its rim, of its queries
  bool mask_padding, scale_position;
  int64_t window, keys, queries, rows, columns;
  float scale;

  // `settings`: block, halo, heads, query, mask_padding, scale_position
  Geometry(const Arguments& args, int q, int kv, int table, const int64_t* settings)
      : batch(args.side(kv, 0)),
        height(args.side(kv, 1)),
        width(args.side(kv, 2)),
        heads(settings[2]),
        dim_key(args.side(table, 1)),
        dim_value(args.side(kv, 3) / settings[2] - args.side(table, 1)),
        query_height(args.side(q, 1)),
        query_width(args.side(q, 2)),
        block(settings[0]),
        halo(settings[1]),
        query(settings[3]),
        mask_padding(settings[4] != 0),
        scale_position(settings[5] != 0) {
    window = block + 2 * halo;
    keys = window * window;
    queries = query * query;
    rows = (height + block - 1) / block;
    columns = (width + block - 1) / block;
    out_height = query_height;
    out_width = query_width;
    scale = 1.f / std::sqrt(static_cast<float>(dim_key));
  }
  int64_t depth() const { return dim_key + dim_value; }
  int64_t padded_keys() const { return round_up(keys, UNROLL); }
};

// out[k][q] = sum over d of row_k[d] * columns[d][q] for the keys of a window and a tile of queries.
template <int TILE>
void multiply_rows(const float* const* row, int64_t keys, int64_t offset, int64_t depth, const float* columns,
                   float* out) {
  constexpr int VECTORS = TILE / LANES;
  for (int64_t k = 0; k < keys; k += UNROLL) {
    Vector sum[UNROLL][VECTORS] = {};
    for (int64_t d = 0; d < depth; ++d) {
      Vector column[VECTORS];
      for (int v = 0; v < VECTORS; ++v) column[v] = vector_at(columns + d * TILE + v * LANES);
#pragma GCC unroll 8
      for (int i = 0; i < UNROLL; ++i) {
        const float value = row[k + i][offset + d];
        for (int v = 0; v < VECTORS; ++v) sum[i][v] += value * column[v];
      }
    }
    for (int i = 0; i < UNROLL; ++i) {
      for (int v = 0; v < VECTORS; ++v) vector_at(out + (k + i) * TILE + v * LANES) = sum[i][v];
    }
  }
}

template <int TILE, int DIMS>
void mix_dims(const float* weights, const float* const* row, int64_t keys, int64_t offset, float* out) {
  constexpr int VECTORS = TILE / LANES;
  Vector sum[DIMS][VECTORS] = {};
  for (int64_t k = 0; k < keys; ++k) {
    Vector weight[VECTORS];
    for (int v = 0; v < VECTORS; ++v) weight[v] = vector_at(weights + k * TILE + v * LANES);
#pragma GCC unroll 8
    for (int i = 0; i < DIMS; ++i) {
      const float value = row[k][offset + i];
      for (int v = 0; v < VECTORS; ++v) sum[i][v] += value * weight[v];
    }
  }
  for (int i = 0; i < DIMS; ++i) {
    for (int v = 0; v < VECTORS; ++v) vector_at(out + i * TILE + v * LANES) = sum[i][v];
  }
}

// out[d][q] = sum over k of weights[k][q] * row_k[d].
template <int TILE>
void mix_rows(const float* weights, const float* const* row, int64_t keys, int64_t offset, int64_t depth, float* out) {
  int64_t d = 0;
  for (; d + UNROLL <= depth; d += UNROLL) mix_dims<TILE, UNROLL>(weights, row, keys, offset + d, out + d * TILE);
  for (; d + 4 <= depth; d += 4) mix_dims<TILE, 4>(weights, row, keys, offset + d, out + d * TILE);
  for (; d < depth; ++d) mix_dims<TILE, 1>(weights, row, keys, offset + d, out + d * TILE);
}

// target[k][d] += sum over q of weights[k][q] * operand[q][d], rows of `stride` numbers, a multiple of LANES.
template <int TILE>
void collect_queries(const float* weights, int64_t keys, const float* operand, int64_t stride, float* target) {
  for (int64_t d = 0; d < stride; d += LANES) {
    for (int64_t k = 0; k < keys; k += UNROLL) {
      Vector sum[UNROLL] = {};
      for (int q = 0; q < TILE; ++q) {
        const Vector value = vector_at(operand + q * stride + d);
#pragma GCC unroll 8
        for (int i = 0; i < UNROLL; ++i) sum[i] += weights[(k + i) * TILE + q] * value;
      }
      for (int i = 0; i < UNROLL; ++i) vector_at(target + (k + i) * stride + d) += sum[i];
    }
  }
}

// A table of relative positions spread out for one axis: [key][d][query of a tile] of table[key - coordinate + last].
class Positions {
 public:
  Positions(const Geometry& g, const float* table, bool rows, int tile) : g_(g), rows_(rows), tile_(tile) {
    padded_ = round_up(g.queries, tile);
    spread_.assign(g.window * g.dim_key * padded_, 0.f);
    if (table == nullptr) return;
    visit([&](int64_t index, int64_t table_index) { spread_[index] = table[table_index]; });
  }

  int64_t tile_size() const { return g_.window * g_.dim_key * tile_; }
  float* tile(int64_t number) { return spread_.data() + number * tile_size(); }
  const float* tile(int64_t number) const { return spread_.data() + number * tile_size(); }

  // The other way round: adds each number to the place in `table` that it stands for.
  void fold_into(float* table) const {
    visit([&](int64_t index, int64_t table_index) { table[table_index] += spread_[index]; });
  }

 private:
  template <typename Body>
  void visit(const Body& body) const {
    for (int64_t q = 0; q < g_.queries; ++q) {
      const int64_t coordinate = rows_ ? q / g_.query : q % g_.query;
      for (int64_t key = 0; key < g_.window; ++key) {
        for (int64_t d = 0; d < g_.dim_key; ++d) {
          body((q / tile_) * tile_size() + (key * g_.dim_key + d) * tile_ + q % tile_,
               (key - coordinate + g_.window - 1) * g_.dim_key + d);
        }
      }
    }
  }

  const Geometry& g_;
  bool rows_;
  int tile_;
  int64_t padded_;
  std::vector<float> spread_;
};

// The place of a block in the maps, and where each key of its window lies.
template <int TILE>
struct Block {
  const Geometry& g;
  int64_t image = 0, head = 0, row = 0, column = 0;
  std::vector<float> nothing;           // what keys outside the map look like
  std::vector<const float*> key;        // padded_keys() of them
  std::vector<int64_t> pixel;           // of each key, or -1
  std::vector<float> q_key, q_position;  // (dim_key, TILE): queries as keys and as position tables meet them

  explicit Block(const Geometry& geometry)
      : g(geometry),
        nothing(g.depth(), 0.f),
        key(g.padded_keys(), nothing.data()),
        pixel(g.keys),
        q_key(g.dim_key * TILE),
        q_position(g.dim_key * TILE) {}

  void move_to(int64_t number, const float* kv) {
    column = number % g.columns;
    row = number / g.columns % g.rows;
    head = number / (g.columns * g.rows) % g.heads;
    image = number / (g.columns * g.rows * g.heads);
    for (int64_t k = 0; k < g.keys; ++k) {
      const int64_t y = row * g.block - g.halo + k / g.window, x = column * g.block - g.halo + k % g.window;
      const bool inside = y >= 0 && y < g.height && x >= 0 && x < g.width;
      pixel[k] = inside ? (image * g.height + y) * g.width + x : -1;
      key[k] = inside ? kv + (pixel[k] * g.heads + head) * g.depth() : nothing.data();
    }
  }

  // Where query `q` of the block starts in a map of `depth` numbers a head, or -1 if that map has no such pixel.
  int64_t query_index(int64_t q, int64_t height, int64_t width, int64_t depth) const {
    const int64_t y = row * g.query + q / g.query, x = column * g.query + q % g.query;
    if (q >= g.queries || y >= height || x >= width) return -1;
    return (((image * height + y) * width + x) * g.heads + head) * depth;
  }

  void read_columns(const float* map, int64_t first, int64_t height, int64_t width, int64_t depth, float* out) const {
    for (int64_t q = 0; q < TILE; ++q) {
      const int64_t index = query_index(first + q, height, width, depth);
      for (int64_t d = 0; d < depth; ++d) out[d * TILE + q] = index < 0 ? 0.f : map[index + d];
    }
  }

  void write_columns(const float* columns, int64_t first, int64_t height, int64_t width, int64_t depth,
                     float* map) const {
    for (int64_t q = 0; q < TILE; ++q) {
      const int64_t index = query_index(first + q, height, width, depth);
      if (index < 0) continue;
      for (int64_t d = 0; d < depth; ++d) map[index + d] = columns[d * TILE + q];
    }
  }

  void read_queries(const float* q, int64_t first) {
    read_columns(q, first, g.query_height, g.query_width, g.dim_key, q_position.data());
    for (size_t i = 0; i < q_key.size(); ++i) q_key[i] = q_position[i] * g.scale;
    if (g.scale_position) q_position = q_key;
  }
};

// position[key][q] = sum over d of spread[key][d][q] * q[d][q]
template <int TILE>
void position_logits(const Geometry& g, const float* spread, const float* q, float* position) {
  for (int64_t key = 0; key < g.window; ++key) {
    float sum[TILE] = {};
    for (int64_t d = 0; d < g.dim_key; ++d) {
      const float* value = spread + (key * g.dim_key + d) * TILE;
      for (int i = 0; i < TILE; ++i) sum[i] += value[i] * q[d * TILE + i];
    }
    std::memcpy(position + key * TILE, sum, sizeof sum);
  }
}

// Logits (keys, TILE) of the block's queries, `first` and on.
template <int TILE>
void compute_logits(Block<TILE>& block, const float* q, int64_t first, const Positions& heights,
                    const Positions& widths, std::vector<float>& positions, float* logits) {
  const Geometry& g = block.g;
  block.read_queries(q, first);
  float *by_row = positions.data(), *by_column = positions.data() + g.window * TILE;
  position_logits<TILE>(g, heights.tile(first / TILE), block.q_position.data(), by_row);
  position_logits<TILE>(g, widths.tile(first / TILE), block.q_position.data(), by_column);
  multiply_rows<TILE>(block.key.data(), g.padded_keys(), 0, g.dim_key, block.q_key.data(), logits);
  for (int64_t k = 0; k < g.keys; ++k) {
    const float *in_row = by_row + k / g.window * TILE, *in_column = by_column + k % g.window * TILE;
    const float outside = g.mask_padding && block.pixel[k] < 0 ? OUTSIDE_LOGIT : 0.f;
    float* logit = logits + k * TILE;
    for (int i = 0; i < TILE; ++i) logit[i] += in_row[i] + in_column[i] + outside;
  }
}

template <int TILE>
void attend(const Geometry& g, const float* q, const float* kv, const float* height_rel, const float* width_rel,
            float* out, float* scales) {
  const Positions heights(g, height_rel, true, TILE), widths(g, width_rel, false, TILE);
  parallel_ranges(g.batch * g.heads * g.rows * g.columns, [&](int, int64_t begin, int64_t end) {
    Block<TILE> block(g);
    std::vector<float> logits(g.padded_keys() * TILE), positions(2 * g.window * TILE), mixed(g.dim_value * TILE);
    for (int64_t number = begin; number < end; ++number) {
      block.move_to(number, kv);
      for (int64_t first = 0; first < g.queries; first += TILE) {
        compute_logits<TILE>(block, q, first, heights, widths, positions, logits.data());
        float most[TILE], sum[TILE] = {};
        std::fill(most, most + TILE, -__builtin_inff());
        for (int64_t k = 0; k < g.keys; ++k) {
          const float* logit = logits.data() + k * TILE;
          for (int i = 0; i < TILE; ++i) most[i] = most[i] > logit[i] ? most[i] : logit[i];
        }
        for (int64_t k = 0; k < g.keys; ++k) {
          float* logit = logits.data() + k * TILE;
          for (int i = 0; i < TILE; ++i) {
            logit[i] = fast_exp(logit[i] - most[i]);
            sum[i] += logit[i];
          }
        }
        mix_rows<TILE>(logits.data(), block.key.data(), g.keys, g.dim_key, g.dim_value, mixed.data());
        for (int64_t d = 0; d < g.dim_value; ++d) {
          for (int i = 0; i < TILE; ++i) mixed[d * TILE + i] /= sum[i];
        }
        block.write_columns(mixed.data(), first, g.out_height, g.out_width, g.dim_value, out);
        for (int64_t i = 0; i < std::min<int64_t>(TILE, g.queries - first); ++i) {
          scales[2 * (number * g.queries + first + i)] = most[i];
          scales[2 * (number * g.queries + first + i) + 1] = 1.f / sum[i];
        }
      }
    }
  });
}

struct Gradients {
  const float *diff_out, *q, *kv, *height_rel, *width_rel, *scales;
  float *diff_q, *diff_kv, *diff_height_rel, *diff_width_rel;
};

// What one thread needs for the gradients of one block after the other.
template <int TILE>
class Differentiation {
 public:
  Differentiation(const Geometry& g, const Gradients& data, const Positions& heights, const Positions& widths)
      : diff_heights(g, nullptr, true, TILE),
        diff_widths(g, nullptr, false, TILE),
        g_(g),
        data_(data),
        heights_(heights),
        widths_(widths),
        block_(g),
        key_stride_(round_up(g.dim_key, LANES)),
        value_stride_(round_up(g.dim_value, LANES)),
        weights_(g.padded_keys() * TILE),
        slopes_(g.padded_keys() * TILE),
        positions_(2 * g.window * TILE),
        diff_columns_(g.dim_value * TILE),
        diff_q_(g.dim_key * TILE),
        q_rows_(TILE * key_stride_),
        diff_rows_(TILE * value_stride_),
        diff_keys_(g.padded_keys() * key_stride_),
        diff_values_(g.padded_keys() * value_stride_) {}

  void run(int64_t number) {
    block_.move_to(number, data_.kv);
    std::fill(diff_keys_.begin(), diff_keys_.end(), 0.f);
    std::fill(diff_values_.begin(), diff_values_.end(), 0.f);
    for (int64_t first = 0; first < g_.queries; first += TILE) {
      read_diff_out(first);
      compute_weights(number, first);
      compute_slopes();
      differentiate_positions(first);
      collect_queries<TILE>(weights_.data(), g_.padded_keys(), diff_rows_.data(), value_stride_, diff_values_.data());
      transpose(block_.q_key, g_.dim_key, key_stride_, q_rows_);
      collect_queries<TILE>(slopes_.data(), g_.padded_keys(), q_rows_.data(), key_stride_, diff_keys_.data());
    }
    add_window();
  }

  Positions diff_heights, diff_widths;

 private:
  static void transpose(const std::vector<float>& columns, int64_t depth, int64_t stride, std::vector<float>& rows) {
    for (int64_t d = 0; d < depth; ++d) {
      for (int q = 0; q < TILE; ++q) rows[q * stride + d] = columns[d * TILE + q];
    }
  }

  void read_diff_out(int64_t first) {
    block_.read_columns(data_.diff_out, first, g_.out_height, g_.out_width, g_.dim_value, diff_columns_.data());
    transpose(diff_columns_, g_.dim_value, value_stride_, diff_rows_);
  }

  void compute_weights(int64_t number, int64_t first) {
    compute_logits<TILE>(block_, data_.q, first, heights_, widths_, positions_, weights_.data());
    float most[TILE] = {}, scale[TILE] = {};  // zeros for lanes beyond the last query, whose weights become zeros
    for (int64_t i = 0; i < std::min<int64_t>(TILE, g_.queries - first); ++i) {
      most[i] = data_.scales[2 * (number * g_.queries + first + i)];
      scale[i] = data_.scales[2 * (number * g_.queries + first + i) + 1];
    }
    for (int64_t k = 0; k < g_.keys; ++k) {
      float* weight = weights_.data() + k * TILE;
      for (int i = 0; i < TILE; ++i) weight[i] = fast_exp(weight[i] - most[i]) * scale[i];
    }
    std::fill(weights_.begin() + g_.keys * TILE, weights_.end(), 0.f);
  }

  // The loss's slope by each logit: weight * (its own slope - the mean slope under the weights).
  void compute_slopes() {
    multiply_rows<TILE>(block_.key.data(), g_.padded_keys(), g_.dim_key, g_.dim_value, diff_columns_.data(),
                        slopes_.data());
    float mean[TILE] = {};
    for (int64_t k = 0; k < g_.keys; ++k) {
      for (int i = 0; i < TILE; ++i) mean[i] += weights_[k * TILE + i] * slopes_[k * TILE + i];
    }
    for (int64_t k = 0; k < g_.padded_keys(); ++k) {
      for (int i = 0; i < TILE; ++i) slopes_[k * TILE + i] = weights_[k * TILE + i] * (slopes_[k * TILE + i] - mean[i]);
    }
  }

  // The gradients of the queries and of the position tables.
  void differentiate_positions(int64_t first) {
    std::fill(positions_.begin(), positions_.end(), 0.f);
    float *by_row = positions_.data(), *by_column = positions_.data() + g_.window * TILE;
    for (int64_t k = 0; k < g_.keys; ++k) {
      float *in_row = by_row + k / g_.window * TILE, *in_column = by_column + k % g_.window * TILE;
      const float* slope = slopes_.data() + k * TILE;
      for (int i = 0; i < TILE; ++i) {
        in_row[i] += slope[i];
        in_column[i] += slope[i];
      }
    }
    mix_rows<TILE>(slopes_.data(), block_.key.data(), g_.keys, 0, g_.dim_key, diff_q_.data());
    for (float& value : diff_q_) value *= g_.scale;
    const float position_scale = g_.scale_position ? g_.scale : 1.f;
    add_positions(by_row, heights_.tile(first / TILE), position_scale, diff_heights.tile(first / TILE));
    add_positions(by_column, widths_.tile(first / TILE), position_scale, diff_widths.tile(first / TILE));
    block_.write_columns(diff_q_.data(), first, g_.query_height, g_.query_width, g_.dim_key, data_.diff_q);
  }

  void add_positions(const float* slopes, const float* spread, float scale, float* diff_spread) {
    for (int64_t key = 0; key < g_.window; ++key) {
      const float* slope = slopes + key * TILE;
      for (int64_t d = 0; d < g_.dim_key; ++d) {
        const float* value = spread + (key * g_.dim_key + d) * TILE;
        float* diff = diff_spread + (key * g_.dim_key + d) * TILE;
        const float* q = block_.q_position.data() + d * TILE;
        float* diff_q = diff_q_.data() + d * TILE;
#pragma GCC ivdep
        for (int i = 0; i < TILE; ++i) {
          diff_q[i] += scale * slope[i] * value[i];
          diff[i] += slope[i] * q[i];
        }
      }
    }
  }

  void add_window() {
    for (int64_t k = 0; k < g_.keys; ++k) {
      if (block_.pixel[k] < 0) continue;
      float* target = data_.diff_kv + (block_.pixel[k] * g_.heads + block_.head) * g_.depth();
      const float *key = diff_keys_.data() + k * key_stride_, *value = diff_values_.data() + k * value_stride_;
#pragma GCC ivdep
      for (int64_t d = 0; d < g_.dim_key; ++d) target[d] += key[d];
#pragma GCC ivdep
      for (int64_t d = 0; d < g_.dim_value; ++d) target[g_.dim_key + d] += value[d];
    }
  }

  const Geometry& g_;
  const Gradients& data_;
  const Positions &heights_, &widths_;
  Block<TILE> block_;
  const int64_t key_stride_, value_stride_;
  std::vector<float> weights_, slopes_, positions_, diff_columns_, diff_q_, q_rows_, diff_rows_, diff_keys_,
      diff_values_;
};

// Windows overlap, so that a head of an image stays with one thread.
template <int TILE>
void differentiate(const Geometry& g, const Gradients& data) {
  const Positions heights(g, data.height_rel, true, TILE), widths(g, data.width_rel, false, TILE);
  const int64_t blocks = g.rows * g.columns;
  std::fill(data.diff_kv, data.diff_kv + g.batch * g.height * g.width * g.heads * g.depth(), 0.f);
  std::fill(data.diff_height_rel, data.diff_height_rel + (2 * g.window - 1) * g.dim_key, 0.f);
  std::fill(data.diff_width_rel, data.diff_width_rel + (2 * g.window - 1) * g.dim_key, 0.f);
  std::vector<std::unique_ptr<Differentiation<TILE>>> parts(num_threads());
  parallel_ranges(g.batch * g.heads, [&](int thread, int64_t begin, int64_t end) {
    parts[thread] = std::make_unique<Differentiation<TILE>>(g, data, heights, widths);
    for (int64_t number = begin * blocks; number < end * blocks; ++number) parts[thread]->run(number);
  });
  for (const auto& part : parts) {
    if (part == nullptr) continue;
    part->diff_heights.fold_into(data.diff_height_rel);
    part->diff_widths.fold_into(data.diff_width_rel);
  }
}

}  // namespace
}  // namespace halo

using namespace halo;

// q (B, H', W', N * Dk), kv (B, H, W, N * (Dk + Dv)), height_rel, width_rel (2 * window - 1, Dk), settings
// -> out (B, H'', W'', N * Dv), each query's largest logit and 1 / its softmax's sum (B * N * blocks, queries, 2)
HALO_KERNEL(halo_attention) {
  Geometry g(args, 0, 1, 2, args.settings(4));
  g.out_height = args.side(5, 1);
  g.out_width = args.side(5, 2);
  const auto run = g.queries > LANES ? attend<2 * LANES> : attend<LANES>;
  run(g, args.floats(0), args.floats(1), args.floats(2), args.floats(3), args.floats(5), args.floats(6));
}

// out's gradient, q, kv, height_rel, width_rel, largest logits and 1 / sums, settings
// -> gradients of q, kv, height_rel, width_rel
HALO_KERNEL(halo_attention_backward) {
  Geometry g(args, 1, 2, 3, args.settings(6));
  g.out_height = args.side(0, 1);
  g.out_width = args.side(0, 2);
  const Gradients data = {args.floats(0), args.floats(1), args.floats(2), args.floats(3), args.floats(4),
                          args.floats(5), args.floats(7), args.floats(8), args.floats(9), args.floats(10)};
  const auto run = g.queries > LANES ? differentiate<2 * LANES> : differentiate<LANES>;
  run(g, data);
}
