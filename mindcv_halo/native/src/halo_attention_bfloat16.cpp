// One task is a row of blocks of one head: the keys and values that its windows share are laid out once as tiles want
// them. Within a block, 16 queries at a time lie along the vectors' lanes, as in halo_attention.cpp.
#include "halo_attention_bfloat16.hpp"

#include <cstring>
#include <stdexcept>
#include <vector>

#include "halo_logits.hpp"
#include "threads.hpp"
#include "tile_product.hpp"

namespace halo {

#if defined(HALO_BFLOAT16)
namespace {

constexpr int64_t DEPTH = 2 * SIDE;  // numbers that one product of tiles sums up

// A table of relative positions in rows of whole tiles.
std::vector<bfloat16> pack_table(const float* table, int64_t keys, int64_t dim_key, int64_t depth) {
  const int64_t rows = 2 * keys - 1;
  std::vector<bfloat16> packed(round_up(rows, SIDE) * depth, bfloat16(0.f));
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t d = 0; d < dim_key; ++d) packed[row * depth + d] = bfloat16(table[row * dim_key + d]);
  }
  return packed;
}

const uint32_t* as_pairs(const bfloat16* numbers) { return reinterpret_cast<const uint32_t*>(numbers); }

class BlockRow {
 public:
  BlockRow(const Geometry& g, const bfloat16* heights, const bfloat16* widths)
      : g_(g),
        heights_(heights),
        widths_(widths),
        depth_(round_up(g.dim_key, DEPTH)),
        dims_(round_up(g.dim_value, SIDE)),
        strips_(round_up(g.window.width, SIDE) / SIDE),
        width_(round_up((windows_in_row(g) - 1) * g.block.width + strips_ * SIDE, SIDE)),
        pairs_((g.window.height + 1) / 2),
        keys_(g.window.height * width_ * depth_, bfloat16(0.f)),
        values_(pairs_ * dims_ * width_),
        queries_(depth_ * SIDE / 2),
        logits_(g.window.height * strips_ * AREA),
        by_height_(round_up(2 * g.window.height - 1, SIDE) * SIDE),
        by_width_(round_up(2 * g.window.width - 1, SIDE) * SIDE),
        in_column_(g.window.width * SIDE),
        weights_(pairs_ * strips_ * AREA, 0u),
        nothing_(g.value + g.dim_value, bfloat16(0.f)),
        pixel_(g.scrambled ? g.keys() : 0),
        unfolded_(pixel_.size() * g.depth()),
        window_(unfolded_.size()) {}

  static int64_t pack_depth(const Geometry& g) { return round_up(g.dim_key, DEPTH); }

  void run(int64_t number, const bfloat16* q, const bfloat16* kv, bfloat16* out, float* scales) {
    row_ = number % g_.rows();
    head_ = number / g_.rows() % g_.heads;
    image_ = number / (g_.rows() * g_.heads);
    for (int64_t column = 0; column < g_.columns(); ++column) {
      if (g_.scrambled) unfold_window(column, kv);
      if (g_.scrambled || column == 0) {
        pack_keys(kv);
        pack_values(kv);
      }
      for (int64_t first = 0; first < g_.queries(); first += SIDE) {
        attend(column, first, q, out, scales + 2 * ((number * g_.columns() + column) * g_.queries() + first));
      }
    }
  }

 private:
  // Windows whose keys and values are laid out at once: scrambled ones share none.
  static int64_t windows_in_row(const Geometry& g) { return g.scrambled ? 1 : g.columns(); }

  // Where a block's window starts in what is laid out.
  int64_t find_start(int64_t column) const { return g_.scrambled ? 0 : column * g_.block.width; }

  // The keys and values of a pixel of the windows, which start at the halo of the first block.
  const bfloat16* find(const bfloat16* kv, int64_t y, int64_t x) const {
    if (y >= g_.window.height) return nothing_.data();
    if (g_.scrambled) {
      return x < g_.window.width ? window_.data() + (y * g_.window.width + x) * g_.depth() : nothing_.data();
    }
    const int64_t row = row_ * g_.block.height - g_.halo + y, column = x - g_.halo;
    const bool is_inside = row >= 0 && row < g_.kv.height && column >= 0 && column < g_.kv.width;
    return is_inside ? kv + g_.kv.index(image_, row, column, head_) : nothing_.data();
  }

  void unfold_window(int64_t column, const bfloat16* kv) {
    find_pixels(g_, image_, row_, column, pixel_.data());
    unfold_head(g_, head_, pixel_.data(), kv, unfolded_.data());
    swap_sides(unfolded_.data(), g_.depth(), g_.keys(), window_.data());
  }

  // (rows, columns) -> (columns, rows)
  static void swap_sides(const bfloat16* in, int64_t rows, int64_t columns, bfloat16* out) {
    for (int64_t row = 0; row < rows; row += SIDE) {
      const __mmask16 down = lanes_below(rows - row);
      for (int64_t column = 0; column < columns; column += SIDE) {
        const __mmask16 across = lanes_below(columns - column);
        Vector square[SIDE] = {};
        for (int64_t i = 0; i < std::min<int64_t>(SIDE, rows - row); ++i) {
          square[i] = Vector(load_bfloat16(in + (row + i) * columns + column, across));
        }
        transpose(square);
        for (int64_t i = 0; i < std::min<int64_t>(SIDE, columns - column); ++i) {
          store_bfloat16(out + (column + i) * rows + row, __m512(square[i]), down);
        }
      }
    }
  }

  void pack_keys(const bfloat16* kv) {
    for (int64_t y = 0; y < g_.window.height; ++y) {
      for (int64_t x = 0; x < width_; ++x) {
        std::memcpy(keys_.data() + (y * width_ + x) * depth_, find(kv, y, x), g_.dim_key * sizeof(bfloat16));
      }
    }
  }

  // [pair of rows][d][x], a number of each of the two rows.
  void pack_values(const bfloat16* kv) {
    for (int64_t pair = 0; pair < pairs_; ++pair) {
      for (int64_t x = 0; x < width_; x += SIDE) {
        const bfloat16 *upper[SIDE], *lower[SIDE];
        for (int i = 0; i < SIDE; ++i) {
          upper[i] = find(kv, 2 * pair, x + i) + g_.value;
          lower[i] = find(kv, 2 * pair + 1, x + i) + g_.value;
        }
        for (int64_t d = 0; d < dims_; d += SIDE) {
          const __mmask16 lanes = lanes_below(g_.dim_value - d);
          Vector square[SIDE];
          for (int i = 0; i < SIDE; ++i) {
            const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, upper[i] + d));
            const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, lower[i] + d));
            square[i] = Vector(_mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16))));
          }
          transpose(square);
          uint32_t* target = values_.data() + (pair * dims_ + d) * width_ + x;
          for (int i = 0; i < SIDE; ++i) _mm512_storeu_ps(target + i * width_, __m512(square[i]));
        }
      }
    }
  }

  // [pair of d][query], and where the queries' rows of the maps start, or -1.
  void pack_queries(int64_t column, int64_t first, const bfloat16* q) {
    alignas(64) bfloat16 row[SIDE][DEPTH];
    int64_t index[SIDE];
    for (int i = 0; i < SIDE; ++i) {
      const int64_t number = first + i;
      const int64_t y = row_ * g_.query.height + number / g_.query.width;
      const int64_t x = column * g_.query.width + number % g_.query.width;
      const bool is_query = number < g_.queries();
      index[i] = is_query && y < g_.q.height && x < g_.q.width ? g_.q.index(image_, y, x, head_) : -1;
      target_[i] = is_query && y < g_.out.height && x < g_.out.width ? g_.out.index(image_, y, x, head_) : -1;
    }
    for (int64_t d = 0; d < depth_; d += DEPTH) {
      const int64_t count = std::min<int64_t>(DEPTH, g_.dim_key - d);
      std::memset(row, 0, sizeof row);
      for (int i = 0; i < SIDE; ++i) {
        if (index[i] >= 0) std::memcpy(row[i], q + index[i] + d, count * sizeof(bfloat16));
      }
      Vector square[SIDE];
      for (int i = 0; i < SIDE; ++i) square[i] = Vector(_mm512_load_ps(row[i]));
      transpose(square);
      for (int i = 0; i < SIDE; ++i) _mm512_storeu_ps(queries_.data() + (d / 2 + i) * SIDE, __m512(square[i]));
    }
  }

  void attend(int64_t column, int64_t first, const bfloat16* q, bfloat16* out, float* scales) {
    pack_queries(column, first, q);
    compute_products(column);
    const __m512 most = finish_logits(column, first);
    const __m512 sum = compute_weights(most);
    const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1.f), sum);
    for (int64_t d = 0; d < dims_; d += 2 * SIDE) mix(column, d, inverse, out);
    alignas(64) float of_most[SIDE], of_inverse[SIDE];
    _mm512_store_ps(of_most, most);
    _mm512_store_ps(of_inverse, inverse);
    for (int64_t i = 0; i < std::min<int64_t>(SIDE, g_.queries() - first); ++i) {
      scales[2 * i] = of_most[i];
      scales[2 * i + 1] = of_inverse[i];
    }
  }

  void compute_products(int64_t column) {
    const int64_t keys = g_.window.height * strips_;
    multiply(by_height_.size() / AREA, [&](int64_t i) { return heights_ + i * SIDE * depth_; }, by_height_.data());
    multiply(by_width_.size() / AREA, [&](int64_t i) { return widths_ + i * SIDE * depth_; }, by_width_.data());
    const auto find_keys = [&](int64_t i) {
      const int64_t x = find_start(column) + i % strips_ * SIDE;
      return keys_.data() + (i / strips_ * width_ + x) * depth_;
    };
    multiply(keys, find_keys, logits_.data());
  }

  // Tiles of products of the queries with `count` tiles of rows of depth_ numbers.
  template <typename Rows>
  void multiply(int64_t count, const Rows& rows, float* products) {
    const int64_t chunks = depth_ / DEPTH, stride = depth_ / 2;
    if (chunks == 1) {
      tiles_.multiply_each(count, stride, [&](int64_t i) { return as_pairs(rows(i)); }, queries_.data(), products);
      return;
    }
    for (int64_t tile = 0; tile < count; ++tile) {
      tiles_.sum_products(
          chunks, stride, [&](int64_t i) { return as_pairs(rows(tile) + i * DEPTH); },
          [&](int64_t i) { return queries_.data() + i * AREA; }, products + tile * AREA);
    }
  }

  // Adds positions and what keys outside the map get; the largest logit of each query.
  __m512 finish_logits(int64_t column, int64_t first) {
    alignas(64) int32_t of_row[SIDE], of_column[SIDE];
    for (int64_t i = 0; i < SIDE; ++i) {
      const int64_t number = std::min(first + i, g_.queries() - 1);
      of_row[i] = static_cast<int32_t>((g_.window.height - 1 - number / g_.query.width) * SIDE + i);
      of_column[i] = static_cast<int32_t>((g_.window.width - 1 - number % g_.query.width) * SIDE + i);
    }
    const __m512i rows = _mm512_load_si512(of_row), columns = _mm512_load_si512(of_column);
    const __m512 scale = _mm512_set1_ps(g_.scale());
    const __m512 position_scale = _mm512_set1_ps(g_.scale_position ? g_.scale() : 1.f);
    const int64_t top = row_ * g_.block.height - g_.halo, left = column * g_.block.width - g_.halo;
    const auto outside = [&](bool is_inside) { return _mm512_set1_ps(g_.mask_padding && !is_inside ? OUTSIDE_LOGIT : 0.f); };
    for (int64_t x = 0; x < g_.window.width; ++x) {
      const __m512 position = _mm512_i32gather_ps(columns, by_width_.data() + x * SIDE, sizeof(float));
      const bool is_inside = left + x >= 0 && left + x < g_.kv.width;
      _mm512_storeu_ps(in_column_.data() + x * SIDE, _mm512_fmadd_ps(position, position_scale, outside(is_inside)));
    }
    __m512 most = _mm512_set1_ps(-__builtin_inff());
    for (int64_t y = 0; y < g_.window.height; ++y) {
      const __m512 position = _mm512_i32gather_ps(rows, by_height_.data() + y * SIDE, sizeof(float));
      const __m512 in_row = _mm512_fmadd_ps(position, position_scale, outside(top + y >= 0 && top + y < g_.kv.height));
      float* logit = logits_.data() + y * strips_ * AREA;
      for (int64_t x = 0; x < g_.window.width; ++x) {
        const __m512 positions = _mm512_add_ps(in_row, _mm512_loadu_ps(in_column_.data() + x * SIDE));
        const __m512 sum = _mm512_fmadd_ps(_mm512_loadu_ps(logit + x * SIDE), scale, positions);
        _mm512_storeu_ps(logit + x * SIDE, sum);
        most = _mm512_max_ps(most, sum);
      }
    }
    return most;
  }

  // [pair of rows][x][query] of the softmax before its division; the sums to divide by.
  __m512 compute_weights(__m512 most) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t pair = 0; pair < pairs_; ++pair) {
      const float* upper = logits_.data() + 2 * pair * strips_ * AREA;
      const float* lower = 2 * pair + 1 < g_.window.height ? upper + strips_ * AREA : nullptr;
      uint32_t* weight = weights_.data() + pair * strips_ * AREA;
      for (int64_t x = 0; x < g_.window.width; ++x) {
        const __m512 one = short_exp(_mm512_sub_ps(_mm512_loadu_ps(upper + x * SIDE), most));
        __m512 other = _mm512_setzero_ps();
        if (lower != nullptr) other = short_exp(_mm512_sub_ps(_mm512_loadu_ps(lower + x * SIDE), most));
        sum = _mm512_add_ps(sum, _mm512_add_ps(one, other));
        _mm512_storeu_si512(weight + x * SIDE, make_pairs(one, other));
      }
    }
    return sum;
  }

  // Of values' numbers `d` and on, as many as two tiles take.
  void mix(int64_t column, int64_t d, __m512 inverse, bfloat16* out) {
    alignas(64) float mixed[4 * AREA];
    const int64_t count = std::min<int64_t>(2, (dims_ - d) / SIDE);
    tiles_.sum_square(
        pairs_ * strips_, width_, count, 1,
        [&](int64_t i, int64_t tile) {
          const int64_t x = find_start(column) + i % strips_ * SIDE;
          return values_.data() + (i / strips_ * dims_ + d + tile * SIDE) * width_ + x;
        },
        [&](int64_t i, int64_t) { return weights_.data() + i * AREA; }, mixed);
    for (int64_t tile = 0; tile < count; ++tile, d += SIDE) {
      Vector square[SIDE];
      const float* sums = mixed + 2 * tile * AREA;
      for (int i = 0; i < SIDE; ++i) square[i] = Vector(_mm512_mul_ps(_mm512_load_ps(sums + i * SIDE), inverse));
      transpose(square);
      const __mmask16 lanes = lanes_below(g_.dim_value - d);
      for (int i = 0; i < SIDE; ++i) {
        if (target_[i] >= 0) store_bfloat16(out + target_[i] + d, __m512(square[i]), lanes);
      }
    }
  }

  const Geometry& g_;
  const bfloat16 *heights_, *widths_;
  // Sides rounded up to whole tiles: of keys, of values; tiles that a window's row takes; the row of windows.
  const int64_t depth_, dims_, strips_, width_, pairs_;
  std::vector<bfloat16> keys_;
  std::vector<uint32_t> values_, queries_;
  std::vector<float> logits_, by_height_, by_width_, in_column_;
  std::vector<uint32_t> weights_;
  const std::vector<bfloat16> nothing_;
  std::vector<int64_t> pixel_;
  std::vector<bfloat16> unfolded_, window_;  // of a scrambled window, (depth, keys) and (keys, depth)
  int64_t image_ = 0, head_ = 0, row_ = 0;
  int64_t target_[SIDE] = {};
  Tiles tiles_;
};

}  // namespace

void attend_bfloat16(const Geometry& g, const bfloat16* q, const bfloat16* kv, const float* height_rel,
                     const float* width_rel, bfloat16* out, float* scales) {
  const int64_t depth = BlockRow::pack_depth(g);
  const std::vector<bfloat16> heights = pack_table(height_rel, g.window.height, g.dim_key, depth);
  const std::vector<bfloat16> widths = pack_table(width_rel, g.window.width, g.dim_key, depth);
  parallel_ranges(g.batch * g.heads * g.rows(), [&](int, int64_t begin, int64_t end) {
    BlockRow row(g, heights.data(), widths.data());
    for (int64_t number = begin; number < end; ++number) row.run(number, q, kv, out, scales);
  });
}

#else

void attend_bfloat16(const Geometry&, const bfloat16*, const bfloat16*, const float*, const float*, bfloat16*, float*) {
  throw std::runtime_error("this processor has no instructions for bfloat16");
}

#endif

}  // namespace halo
