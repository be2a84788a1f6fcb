// The gradients of halo attention, block by block: logits and weights are computed again.
#include <memory>
#include <vector>

#include "activation.hpp"
#include "halo_attention_bfloat16.hpp"
#include "halo_logits.hpp"
#include "threads.hpp"
#include "widened.hpp"

namespace halo {
namespace {

struct Gradients {
  const float *diff_out, *q, *kv, *height_rel, *width_rel, *scales;
  float *diff_q, *diff_kv, *diff_height_rel, *diff_width_rel;
};

// What one thread needs for the gradients of one block after the other.
template <int TILE>
class Differentiation {
 public:
  Differentiation(const Geometry& g, const Gradients& data, const Positions& heights, const Positions& widths)
      : g_(g),
        data_(data),
        heights_(heights),
        widths_(widths),
        block_(g),
        key_stride_(round_up(g.dim_key, LANES)),
        value_stride_(round_up(g.dim_value, LANES)),
        weights_(g.padded_keys() * TILE),
        slopes_(g.padded_keys() * TILE),
        positions_((g.window.height + g.window.width) * TILE),
        diff_columns_(g.dim_value * TILE),
        diff_q_(g.dim_key * TILE),
        q_rows_(TILE * key_stride_),
        diff_rows_(TILE * value_stride_),
        diff_keys_(g.padded_keys() * key_stride_),
        diff_values_(g.padded_keys() * value_stride_),
        diff_heights_((2 * g.window.height - 1) * key_stride_),
        diff_widths_((2 * g.window.width - 1) * key_stride_) {}

  void run(int64_t number) {
    block_.move_to(number, data_.kv);
    std::fill(diff_keys_.begin(), diff_keys_.end(), 0.f);
    std::fill(diff_values_.begin(), diff_values_.end(), 0.f);
    for (int64_t first = 0; first < g_.queries(); first += TILE) {
      block_.read_columns(data_.diff_out, first, g_.out, diff_columns_.data());
      block_.read_rows(data_.diff_out, first, g_.out, value_stride_, diff_rows_.data());
      block_.read_rows(data_.q, first, g_.q, key_stride_, q_rows_.data());
      compute_weights(number, first);
      compute_slopes();
      differentiate_queries(first);
      differentiate_tables(first);
      collect_queries<TILE>(weights_.data(), g_.padded_keys(), diff_rows_.data(), value_stride_, diff_values_.data());
      collect_queries<TILE>(slopes_.data(), g_.padded_keys(), q_rows_.data(), key_stride_, diff_keys_.data());
    }
    add_window();
  }

  // Adds what its blocks gave to the gradients of the position tables.
  void add_tables() const {
    add_table(diff_heights_, g_.window.height, data_.diff_height_rel);
    add_table(diff_widths_, g_.window.width, data_.diff_width_rel);
  }

 private:
  void add_table(const std::vector<float>& source, int64_t keys, float* target) const {
    const float scale = g_.scale_position ? g_.scale() : 1.f;
    for (int64_t position = 0; position < 2 * keys - 1; ++position) {
      for (int64_t d = 0; d < g_.dim_key; ++d) {
        target[position * g_.dim_key + d] += scale * source[position * key_stride_ + d];
      }
    }
  }

  void compute_weights(int64_t number, int64_t first) {
    float most[TILE] = {}, scale[TILE] = {};  // zeros for lanes beyond the last query, whose weights become zeros
    for (int64_t i = 0; i < std::min<int64_t>(TILE, g_.queries() - first); ++i) {
      most[i] = data_.scales[2 * (number * g_.queries() + first + i)];
      scale[i] = data_.scales[2 * (number * g_.queries() + first + i) + 1];
    }
    compute_logits<TILE>(block_, data_.q, first, heights_, widths_, positions_, weights_.data(),
                         [&](int64_t, float* weight) {
                           for (int i = 0; i < TILE; ++i) weight[i] = fast_exp(weight[i] - most[i]) * scale[i];
                         });
    std::fill(weights_.begin() + g_.keys() * TILE, weights_.end(), 0.f);
  }

  // The loss's slope by each logit: weight * (its own slope - the mean slope under the weights). Sums of it over the
  // rows and the columns of the window are the slopes by position logits.
  void compute_slopes() {
    multiply_rows<TILE>(block_.key.data(), g_.padded_keys(), g_.value, g_.dim_value, diff_columns_.data(),
                        slopes_.data());
    float mean[TILE] = {};
    for (int64_t k = 0; k < g_.keys(); ++k) {
      for (int i = 0; i < TILE; ++i) mean[i] += weights_[k * TILE + i] * slopes_[k * TILE + i];
    }
    std::fill(positions_.begin(), positions_.end(), 0.f);
    float* slope = slopes_.data();
    const float* weight = weights_.data();
    for (int64_t row = 0; row < g_.window.height; ++row) {
      float in_row[TILE] = {};
      for (int64_t column = 0; column < g_.window.width; ++column, slope += TILE, weight += TILE) {
        float* in_column = by_column() + column * TILE;
#pragma GCC ivdep
        for (int i = 0; i < TILE; ++i) {
          slope[i] = weight[i] * (slope[i] - mean[i]);
          in_row[i] += slope[i];
          in_column[i] += slope[i];
        }
      }
      std::copy(in_row, in_row + TILE, by_row() + row * TILE);
    }
    std::fill(slope, slopes_.data() + slopes_.size(), 0.f);
  }

  void differentiate_queries(int64_t first) {
    mix_rows<TILE>(slopes_.data(), block_.key.data(), g_.keys(), 0, g_.dim_key, diff_q_.data());
    const float of_key = g_.scale(), scale = g_.scale_position ? of_key : 1.f;
    for (float& value : diff_q_) value *= of_key;
    add_positions(by_row(), g_.window.height, heights_.tile(first / TILE), scale);
    add_positions(by_column(), g_.window.width, widths_.tile(first / TILE), scale);
    block_.write_columns(diff_q_.data(), first, g_.q, data_.diff_q);
  }

  // diff_q[d][q] += scale * the sum over keys of slopes[key][q] * spread[key][d][q]
  void add_positions(const float* slopes, int64_t keys, const float* spread, float scale) {
    constexpr int DIMS = 4;
    int64_t d = 0;
    for (; d + DIMS <= g_.dim_key; d += DIMS) add_position_dims<DIMS>(slopes, keys, spread, scale, d);
    for (; d < g_.dim_key; ++d) add_position_dims<1>(slopes, keys, spread, scale, d);
  }

  template <int DIMS>
  void add_position_dims(const float* slopes, int64_t keys, const float* spread, float scale, int64_t first_dim) {
    constexpr int VECTORS = TILE / LANES;
    Vector sum[DIMS][VECTORS] = {};
    for (int64_t key = 0; key < keys; ++key) {
      const float* value = spread + (key * g_.dim_key + first_dim) * TILE;
      for (int v = 0; v < VECTORS; ++v) {
        const Vector slope = vector_at(slopes + key * TILE + v * LANES);
        for (int i = 0; i < DIMS; ++i) sum[i][v] += slope * vector_at(value + i * TILE + v * LANES);
      }
    }
    for (int i = 0; i < DIMS; ++i) {
      for (int v = 0; v < VECTORS; ++v) {
        vector_at(diff_q_.data() + (first_dim + i) * TILE + v * LANES) += scale * sum[i][v];
      }
    }
  }

  // Queries of one row of the block share the tables' entries for heights, those of one column the ones for widths.
  void differentiate_tables(int64_t first) {
    const int64_t end = std::min<int64_t>(first + TILE, g_.queries()), width = g_.query.width;
    for (int64_t row = first / width; row * width < end; ++row) {
      const int64_t begin = std::max(first, row * width);
      add_entries(by_row(), g_.window.height, begin - first, std::min(end, (row + 1) * width) - first, 1, row,
                  diff_heights_);
    }
    for (int64_t column = 0; column < width; ++column) {
      const int64_t begin = (column - first % width + width) % width;
      add_entries(by_column(), g_.window.width, begin, end - first, width, column, diff_widths_);
    }
  }

  // table[key - coordinate + keys - 1][d] += the sum over queries of slopes[key][q] * q_rows[q][d]
  void add_entries(const float* slopes, int64_t keys, int64_t begin, int64_t end, int64_t step, int64_t coordinate,
                   std::vector<float>& table) {
    for (int64_t key = 0; key < keys; ++key) {
      float* entry = table.data() + (key - coordinate + keys - 1) * key_stride_;
      for (int64_t d = 0; d < key_stride_; d += LANES) {
        Vector sum = {};
        for (int64_t q = begin; q < end; q += step) {
          sum += slopes[key * TILE + q] * vector_at(q_rows_.data() + q * key_stride_ + d);
        }
        vector_at(entry + d) += sum;
      }
    }
  }

  void add_window() {
    if (g_.scrambled) return add_unfolded();
    const float scale = g_.scale();
    for (int64_t k = 0; k < g_.keys(); ++k) {
      if (block_.pixel[k] < 0) continue;
      float* target = data_.diff_kv + block_.pixel[k] * g_.kv.pixel + block_.head * g_.kv.head;
      const float *key = diff_keys_.data() + k * key_stride_, *value = diff_values_.data() + k * value_stride_;
#pragma GCC ivdep
      for (int64_t d = 0; d < g_.dim_key; ++d) target[d] += scale * key[d];
#pragma GCC ivdep
      for (int64_t d = 0; d < g_.dim_value; ++d) target[g_.value + d] += value[d];
    }
  }

  // The same where the numbers of a window come from other places than their own.
  void add_unfolded() {
    const float scale = g_.scale();
    visit_unfolded(g_, block_.head, [&](int64_t place, int64_t key, int64_t channel, int64_t count) {
      if (block_.pixel[key] < 0) return;
      float* target = data_.diff_kv + block_.pixel[key] * g_.kv.pixel + channel;
      for (int64_t i = 0; i < count; ++i) {
        const int64_t d = (place + i) / g_.keys(), k = (place + i) % g_.keys();
        target[i] += d < g_.dim_key ? scale * diff_keys_[k * key_stride_ + d]
                                    : diff_values_[k * value_stride_ + d - g_.dim_key];
      }
    });
  }

  float* by_row() { return positions_.data(); }
  float* by_column() { return positions_.data() + g_.window.height * TILE; }

  const Geometry& g_;
  const Gradients& data_;
  const Positions &heights_, &widths_;
  Block<TILE> block_;
  const int64_t key_stride_, value_stride_;
  std::vector<float> weights_, slopes_, positions_, diff_columns_, diff_q_, q_rows_, diff_rows_, diff_keys_,
      diff_values_, diff_heights_, diff_widths_;
};

// Adds to the gradients of keys and values. Windows overlap, so that a head of an image stays with one thread; those of
// scrambled windows overlap too.
template <int TILE>
void differentiate(const Geometry& g, const Gradients& data) {
  const Positions heights(g, data.height_rel, true, TILE), widths(g, data.width_rel, false, TILE);
  const int64_t parts_of_image = g.scrambled ? 1 : g.heads, blocks = g.blocks() * g.heads / parts_of_image;
  std::fill(data.diff_height_rel, data.diff_height_rel + (2 * g.window.height - 1) * g.dim_key, 0.f);
  std::fill(data.diff_width_rel, data.diff_width_rel + (2 * g.window.width - 1) * g.dim_key, 0.f);
  std::vector<std::unique_ptr<Differentiation<TILE>>> parts(num_threads());
  parallel_ranges(g.batch * parts_of_image, [&](int thread, int64_t begin, int64_t end) {
    parts[thread] = std::make_unique<Differentiation<TILE>>(g, data, heights, widths);
    for (int64_t number = begin * blocks; number < end * blocks; ++number) parts[thread]->run(number);
  });
  for (const auto& part : parts) {
    if (part != nullptr) part->add_tables();
  }
}

}  // namespace
}  // namespace halo

using namespace halo;

// out's gradient, q, kv, height_rel, width_rel, largest logits and 1 / sums, settings
// -> gradients of q, kv, height_rel, width_rel
HALO_KERNEL(halo_attention_backward) {
  args.expect_count(11);
  const Geometry g = read_geometry(args, 1, 2, 3, 0, 6);
  args.expect(5, {g.batch * g.heads * g.blocks(), g.queries(), 2});
  for (int index = 0; index < 4; ++index) args.expect_same(7 + index, 1 + index);
  if (args.type(1) == Type::BFLOAT16) {
    if (can_differentiate_bfloat16(g)) {
      return differentiate_bfloat16(
          g, {args.elements<bfloat16>(0), args.elements<bfloat16>(1), args.elements<bfloat16>(2), args.floats(3),
              args.floats(4), args.floats(5), args.elements<bfloat16>(7), args.elements<bfloat16>(8), args.floats(9),
              args.floats(10)});
    }
    // With the numbers that the forward pass had, tables of positions among them.
    const Widened diff_out(args.elements<bfloat16>(0), args.size(0)), q(args.elements<bfloat16>(1), args.size(1));
    const Widened kv(args.elements<bfloat16>(2), args.size(2));
    const Widened heights(args.floats(3), args.size(3)), widths(args.floats(4), args.size(4));
    const Widened diff_q(args.size(1)), diff_kv(args.size(2));
    const Gradients data = {diff_out.data(), q.data(),      kv.data(),      heights.data(), widths.data(),
                            args.floats(5),  diff_q.data(), diff_kv.data(), args.floats(9), args.floats(10)};
    with_tile(g, [&](auto tile) { differentiate<tile>(g, data); });
    diff_q.narrow(args.elements<bfloat16>(7));
    return diff_kv.narrow(args.elements<bfloat16>(8));
  }
  const Gradients data = {args.floats(0), args.floats(1), args.floats(2), args.floats(3), args.floats(4),
                          args.floats(5), args.floats(7), args.floats(8), args.floats(9), args.floats(10)};
  std::fill(data.diff_kv, data.diff_kv + args.size(8), 0.f);
  with_tile(g, [&](auto tile) { differentiate<tile>(g, data); });
}

// out's gradient, qkv, height_rel, width_rel, largest logits and 1 / sums, settings
// -> gradients of qkv, height_rel, width_rel
HALO_KERNEL(bottleneck_attention_backward) {
  args.expect_count(9);
  const Geometry g = read_whole_map(args, 1, 2, 0, 5);
  args.expect(4, {g.batch * g.heads, g.queries(), 2});
  for (int index = 0; index < 3; ++index) args.expect_same(6 + index, 1 + index);
  const int64_t keys = g.heads * g.dim_key;
  if (args.type(1) == Type::BFLOAT16) {
    if (can_differentiate_bfloat16(g)) {
      const bfloat16* qkv = args.elements<bfloat16>(1);
      bfloat16* diff = args.elements<bfloat16>(6);
      return differentiate_bfloat16(g, {args.elements<bfloat16>(0), qkv, qkv + keys, args.floats(2), args.floats(3),
                                        args.floats(4), diff, diff + keys, args.floats(7), args.floats(8)});
    }
    const Widened diff_out(args.elements<bfloat16>(0), args.size(0)), qkv(args.elements<bfloat16>(1), args.size(1));
    const Widened heights(args.floats(2), args.size(2)), widths(args.floats(3), args.size(3)), diff(args.size(1));
    const Gradients data = {diff_out.data(), qkv.data(),  qkv.data() + keys,  heights.data(), widths.data(),
                            args.floats(4),  diff.data(), diff.data() + keys, args.floats(7), args.floats(8)};
    with_tile(g, [&](auto tile) { differentiate<tile>(g, data); });
    return diff.narrow(args.elements<bfloat16>(6));
  }
  float *qkv = args.floats(1), *diff = args.floats(6);
  const Gradients data = {args.floats(0), qkv,  qkv + keys,  args.floats(2), args.floats(3),
                          args.floats(4), diff, diff + keys, args.floats(7), args.floats(8)};
  std::fill(diff, diff + args.size(6), 0.f);
  with_tile(g, [&](auto tile) { differentiate<tile>(g, data); });
}
