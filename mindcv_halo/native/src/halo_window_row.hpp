// A row of blocks of one head in bfloat16: its keys and values, laid out once for all of its windows as products of
// tiles want them, and logits. 16 queries at a time lie along the vectors' lanes, as in halo_attention.cpp.
#pragma once

#include <vector>

#include "halo_logits.hpp"
#include "tile_product.hpp"

#if defined(HALO_BFLOAT16)
namespace halo {

constexpr int64_t DEPTH = 2 * SIDE;  // numbers that one product of tiles sums up

inline const uint32_t* as_pairs(const bfloat16* numbers) { return reinterpret_cast<const uint32_t*>(numbers); }

// How many pairs of a tile's row matter where rows hold so many numbers, and zeros beyond them.
inline int64_t pairs_of(int64_t numbers) { return numbers >= DEPTH ? SIDE : (numbers + 1) / 2; }

// A table of relative positions in rows of whole tiles.
class PackedTable {
 public:
  PackedTable(const float* table, int64_t keys, int64_t dim_key)
      : rows_(round_up(2 * keys - 1, SIDE)), depth_(round_up(dim_key, DEPTH)), numbers_(rows_ * depth_, bfloat16(0.f)) {
    for (int64_t row = 0; row < 2 * keys - 1; ++row) {
      for (int64_t d = 0; d < dim_key; ++d) numbers_[row * depth_ + d] = bfloat16(table[row * dim_key + d]);
    }
  }

  int64_t rows() const { return rows_; }
  const bfloat16* row(int64_t number) const { return numbers_.data() + number * depth_; }

 private:
  const int64_t rows_, depth_;
  std::vector<bfloat16> numbers_;
};

// Where 16 queries find theirs in rows of 16 numbers, one for each query: those of one coordinate in one row.
class TableLanes {
 public:
  template <typename Row>
  explicit TableLanes(const Row& row) {
    for (int64_t i = 0; i < SIDE; ++i) {
      int64_t part = 0;
      while (part < count_ && start_[part] != row(i) * SIDE) ++part;
      if (part == count_) start_[count_] = row(i) * SIDE, lanes_[count_++] = 0;
      lanes_[part] |= 1 << i;
    }
  }

  __m512 load(const float* rows) const {
    __m512 numbers = _mm512_setzero_ps();
    for (int64_t part = 0; part < count_; ++part) {
      numbers = _mm512_mask_loadu_ps(numbers, lanes_[part], rows + start_[part]);
    }
    return numbers;
  }

  void add(__m512 numbers, float* rows) const {
    for (int64_t part = 0; part < count_; ++part) {
      float* row = rows + start_[part];
      _mm512_mask_storeu_ps(row, lanes_[part], _mm512_add_ps(_mm512_maskz_loadu_ps(lanes_[part], row), numbers));
    }
  }

 private:
  int64_t count_ = 0, start_[SIDE];
  __mmask16 lanes_[SIDE];
};

class WindowRow {
 public:
  WindowRow(const Geometry& geometry, const PackedTable& height_table, const PackedTable& width_table)
      : g(geometry),
        strips(round_up(g.window.width, SIDE) / SIDE),
        width(round_up((windows_in_row(g) - 1) * g.block.width + strips * SIDE, SIDE)),
        pairs((g.window.height + 1) / 2),
        heights_(height_table),
        widths_(width_table),
        by_height_(heights_.rows() * SIDE),
        by_width_(widths_.rows() * SIDE),
        in_column_(g.window.width * SIDE),
        logits_(g.window.height * strips * AREA),
        nothing_(g.value + g.dim_value, bfloat16(0.f)),
        pixel_(g.scrambled ? g.keys() : 0),
        unfolded_(pixel_.size() * g.depth()),
        window_(unfolded_.size()) {
    for (int64_t first = 0; first < g.queries(); first += SIDE) {
      height_lanes_.emplace_back([&](int64_t i) { return g.window.height - 1 - limit(first + i) / g.query.width; });
      width_lanes_.emplace_back([&](int64_t i) { return g.window.width - 1 - limit(first + i) % g.query.width; });
    }
  }

  const Geometry& g;
  // Tiles that a window's row takes; pixels of the row of windows, rounded up to whole tiles; pairs of a window's rows.
  const int64_t strips, width, pairs;
  Tiles tiles;

  int64_t image() const { return image_; }
  int64_t head() const { return head_; }
  int64_t row() const { return row_; }

  void move_to(int64_t number) {
    row_ = number % g.rows();
    head_ = number / g.rows() % g.heads;
    image_ = number / (g.rows() * g.heads);
  }

  // Where a block's window starts in what is laid out: scrambled ones share nothing.
  int64_t find_start(int64_t column) const { return g.scrambled ? 0 : column * g.block.width; }

  // A scrambled window, which stands for the row from then on.
  void unfold_window(int64_t column, const bfloat16* kv) {
    find_pixels(g, image_, row_, column, pixel_.data());
    unfold_head(g, head_, pixel_.data(), kv, unfolded_.data());
    swap_sides(unfolded_.data(), g.depth(), g.keys(), window_.data());
  }

  // [y][x][depth]: of each pixel `count` numbers from `offset` on.
  void pack_rows(const bfloat16* kv, int64_t offset, int64_t count, int64_t depth, bfloat16* rows) const {
    for (int64_t y = 0; y < g.window.height; ++y) {
      for (int64_t x = 0; x < width; ++x, rows += depth) {
        const bfloat16* source = find(kv, y, x) + offset;
        for (int64_t d = 0; d < depth; d += DEPTH) _mm512_storeu_si512(rows + d, load_32(source + d, count - d));
      }
    }
  }

  // [pair of rows][d][x], a number of each of the two rows.
  void pack_pairs(const bfloat16* kv, int64_t offset, int64_t count, uint32_t* target) const {
    for (int64_t pair = 0; pair < pairs; ++pair) {
      for (int64_t x = 0; x < width; x += SIDE) {
        const bfloat16 *upper[SIDE], *lower[SIDE];
        for (int i = 0; i < SIDE; ++i) {
          upper[i] = find(kv, 2 * pair, x + i) + offset;
          lower[i] = find(kv, 2 * pair + 1, x + i) + offset;
        }
        const int64_t dims = round_up(count, SIDE);
        for (int64_t d = 0; d < dims; d += SIDE) {
          const __mmask16 lanes = lanes_below(count - d);
          Vector square[SIDE];
          for (int i = 0; i < SIDE; ++i) square[i] = Vector(interleave(upper[i] + d, lower[i] + d, lanes));
          transpose(square);
          for (int i = 0; i < SIDE; ++i) {
            _mm512_storeu_ps(target + (pair * dims + d + i) * width + x, __m512(square[i]));
          }
        }
      }
    }
  }

  // Where the numbers of queries `first` and on start in a map, or -1.
  void find_queries(int64_t column, int64_t first, const HeadMap& map, int64_t* index) const {
    for (int i = 0; i < SIDE; ++i) {
      const int64_t number = first + i;
      const int64_t y = row_ * g.query.height + number / g.query.width;
      const int64_t x = column * g.query.width + number % g.query.width;
      const bool is_there = number < g.queries() && y < map.height && x < map.width;
      index[i] = is_there ? map.index(image_, y, x, head_) : -1;
    }
  }

  // [pair of d][query] for as many tiles as `count` numbers take.
  static void pack_columns(const bfloat16* numbers, const int64_t* index, int64_t count, uint32_t* columns) {
    for (int64_t d = 0; d < count; d += DEPTH) {
      Vector square[SIDE];
      for (int i = 0; i < SIDE; ++i) {
        const __m512i row = index[i] < 0 ? _mm512_setzero_si512() : load_32(numbers + index[i] + d, count - d);
        square[i] = Vector(_mm512_castsi512_ps(row));
      }
      transpose(square);
      for (int i = 0; i < SIDE; ++i) _mm512_storeu_ps(columns + (d / 2 + i) * SIDE, __m512(square[i]));
    }
  }

  // Writes a tile [d][query] to where the queries start, `lanes` of each.
  static void write_queries(const float* tile, const int64_t* index, __mmask16 lanes, bfloat16* numbers) {
    Vector square[SIDE];
    for (int i = 0; i < SIDE; ++i) square[i] = vector_at(tile + i * SIDE);
    transpose(square);
    for (int i = 0; i < SIDE; ++i) {
      if (index[i] >= 0) store_bfloat16(numbers + index[i], __m512(square[i]), lanes);
    }
  }

  // Tiles of products of `columns` with `count` tiles of rows of `size` numbers and what fills their last tile.
  template <typename Rows>
  void multiply(int64_t count, int64_t size, const Rows& rows, const uint32_t* columns, float* products) const {
    const int64_t chunks = round_up(size, DEPTH) / DEPTH, stride = chunks * SIDE;
    if (chunks == 1) {
      tiles.multiply_each(count, stride, pairs_of(size), rows, columns, products);
      return;
    }
    for (int64_t tile = 0; tile < count; ++tile) {
      tiles.sum_products(
          chunks, stride, [&](int64_t i) { return rows(tile) + i * SIDE; },
          [&](int64_t i) { return columns + i * AREA; }, products + tile * AREA);
    }
  }

  // Tiles of change(place there, 16 logits, 0 or 1) for the keys of a block's window and the queries `first` and on,
  // which are [pair of d][query]; `keys` are of pack_rows. What is beyond the window in a tile means nothing. The last
  // number that is handed over alternates, for sums that need not wait for each other.
  template <typename Change>
  float* compute_logits(int64_t column, int64_t first, const bfloat16* keys, const uint32_t* queries,
                        const Change& change) {
    const int64_t depth = round_up(g.dim_key, DEPTH);
    const auto of_height = [&](int64_t i) { return as_pairs(heights_.row(i * SIDE)); };
    const auto of_width = [&](int64_t i) { return as_pairs(widths_.row(i * SIDE)); };
    multiply(heights_.rows() / SIDE, g.dim_key, of_height, queries, by_height_.data());
    multiply(widths_.rows() / SIDE, g.dim_key, of_width, queries, by_width_.data());
    multiply(g.window.height * strips, g.dim_key,
             [&](int64_t i) { return as_pairs(keys + find_tile(column, i) * depth); }, queries, logits_.data());
    const TableLanes &of_rows = height_lanes(first), &of_columns = width_lanes(first);
    const __m512 scale = _mm512_set1_ps(g.scale());
    const __m512 position_scale = _mm512_set1_ps(g.scale_position ? g.scale() : 1.f);
    const int64_t top = row_ * g.block.height - g.halo, left = column * g.block.width - g.halo, in_row = g.window.width;
    const auto outside = [&](bool is_inside) { return _mm512_set1_ps(g.mask_padding && !is_inside ? OUTSIDE_LOGIT : 0.f); };
    float* const in_column = in_column_.data();
    for (int64_t x = 0; x < in_row; ++x) {
      const bool is_inside = left + x >= 0 && left + x < g.kv.width;
      const __m512 position = of_columns.load(by_width_.data() + x * SIDE);
      _mm512_storeu_ps(in_column + x * SIDE, _mm512_fmadd_ps(position, position_scale, outside(is_inside)));
    }
    for (int64_t y = 0; y < g.window.height; ++y) {
      const __m512 position = of_rows.load(by_height_.data() + y * SIDE);
      const __m512 of_row = _mm512_fmadd_ps(position, position_scale, outside(top + y >= 0 && top + y < g.kv.height));
      float* const logits = logits_.data() + y * strips * AREA;
      const auto compute = [&](int64_t x, auto parity) {
        const __m512 positions = _mm512_add_ps(of_row, _mm512_loadu_ps(in_column + x * SIDE));
        const __m512 logit = _mm512_fmadd_ps(_mm512_loadu_ps(logits + x * SIDE), scale, positions);
        _mm512_storeu_ps(logits + x * SIDE, change(y * strips * AREA + x * SIDE, logit, parity));
      };
      int64_t x = 0;
      for (; x + 2 <= in_row; x += 2) {
        compute(x, std::integral_constant<int, 0>());
        compute(x + 1, std::integral_constant<int, 1>());
      }
      if (x < in_row) compute(x, std::integral_constant<int, 0>());
    }
    return logits_.data();
  }

  // Sums over the keys of a block's window, `count` tiles [d][query] as Tiles::sum_square leaves them: of what pack_pairs
  // laid out, `dims` numbers for each pair of rows, those from `d` on, and of `factors`, [pair of rows][x][query].
  void sum_keys(int64_t column, const uint32_t* laid_out, int64_t dims, int64_t d, int64_t count, const uint32_t* factors,
                float* sums) const {
    tiles.sum_square(
        pairs * strips, width, count, 1,
        [&](int64_t i, int64_t tile) {
          const int64_t x = find_start(column) + i % strips * SIDE;
          return laid_out + (i / strips * dims + d + tile * SIDE) * width + x;
        },
        [&](int64_t i, int64_t) { return factors + i * AREA; }, sums);
  }

  // The pixel of [y][x] at which tile `i` of a window's keys starts.
  int64_t find_tile(int64_t column, int64_t i) const { return i / strips * width + find_start(column) + i % strips * SIDE; }

  // Of queries `first` and on: where the products of tables for the window's first row, or column, are.
  const TableLanes& height_lanes(int64_t first) const { return height_lanes_[first / SIDE]; }
  const TableLanes& width_lanes(int64_t first) const { return width_lanes_[first / SIDE]; }

 private:
  static int64_t windows_in_row(const Geometry& g) { return g.scrambled ? 1 : g.columns(); }

  int64_t limit(int64_t query) const { return std::min(query, g.queries() - 1); }

  // The keys and values of a pixel of the windows, which start at the halo of the first block.
  const bfloat16* find(const bfloat16* kv, int64_t y, int64_t x) const {
    if (y >= g.window.height) return nothing_.data();
    if (g.scrambled) {
      return x < g.window.width ? window_.data() + (y * g.window.width + x) * g.depth() : nothing_.data();
    }
    const int64_t row = row_ * g.block.height - g.halo + y, column = x - g.halo;
    const bool is_inside = row >= 0 && row < g.kv.height && column >= 0 && column < g.kv.width;
    return is_inside ? kv + g.kv.index(image_, row, column, head_) : nothing_.data();
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

  const PackedTable &heights_, &widths_;
  std::vector<TableLanes> height_lanes_, width_lanes_;
  std::vector<float> by_height_, by_width_, in_column_, logits_;
  const std::vector<bfloat16> nothing_;  // what keys and values outside the map look like
  std::vector<int64_t> pixel_;
  std::vector<bfloat16> unfolded_, window_;  // of a scrambled window, (depth, keys) and (keys, depth)
  int64_t image_ = 0, head_ = 0, row_ = 0;
};

}  // namespace halo
#endif
