// The gradients of halo attention in bfloat16. One task is a head of an image, as windows overlap: the gradients of its
// keys and values are sums of float32 over all of its rows of blocks. Weights and slopes of some queries are kept, as
// bfloat16, for the products that sum up over queries.
#include <stdexcept>
#include <utility>
#include <vector>

#include "halo_attention_bfloat16.hpp"
#include "halo_window_row.hpp"
#include "threads.hpp"

namespace halo {

#if defined(HALO_BFLOAT16)
namespace {

class HeadGradients {
 public:
  HeadGradients(const Geometry& g, const ShortGradients& data, const PackedTable& heights, const PackedTable& widths)
      : g_(g),
        data_(data),
        windows_(g, heights, widths),
        key_depth_(round_up(g.dim_key, DEPTH)),
        value_depth_(round_up(g.dim_value, DEPTH)),
        key_dims_(round_up(g.dim_key, SIDE)),
        value_dims_(round_up(g.dim_value, SIDE)),
        tiles_(g.window.height * windows_.strips),
        chunks_(std::min<int64_t>(MOST_CHUNKS, round_up(g.queries(), DEPTH) / DEPTH)),
        table_rows_(round_up(heights.rows(), DEPTH) + round_up(widths.rows(), DEPTH)),
        width_rows_(round_up(heights.rows(), DEPTH)),
        keys_(g.window.height * windows_.width * key_depth_, bfloat16(0.f)),
        values_(g.window.height * windows_.width * value_depth_, bfloat16(0.f)),
        key_pairs_(windows_.pairs * key_dims_ * windows_.width),
        table_pairs_(key_dims_ * table_rows_ / 2),
        queries_(key_depth_ * SIDE / 2),
        diff_queries_(value_depth_ * SIDE / 2),
        slopes_(tiles_ * AREA),
        in_column_(g.window.width * SIDE),
        slope_pairs_(windows_.pairs * windows_.strips * AREA, 0u),
        by_position_(table_rows_ * SIDE),
        position_pairs_(table_rows_ * SIDE / 2),
        weight_rows_(tiles_ * SIDE * chunks_ * DEPTH, bfloat16(0.f)),
        slope_rows_(tiles_ * SIDE * chunks_ * DEPTH, bfloat16(0.f)),
        table_slopes_(table_rows_ * chunks_ * DEPTH, bfloat16(0.f)),
        query_rows_(key_dims_ * chunks_ * SIDE),
        diff_rows_(value_dims_ * chunks_ * SIDE),
        nothing_(std::max(key_dims_, value_dims_), bfloat16(0.f)),
        diff_tables_(table_rows_ * key_dims_),
        sums_(((g.rows() - 1) * g.block.height + g.window.height) * windows_.width * (key_dims_ + value_dims_)) {
    pack_tables(heights, widths);
  }

  void run(int64_t number) {
    std::fill(sums_.begin(), sums_.end(), 0.f);
    for (int64_t row = 0; row < g_.rows(); ++row) {
      windows_.move_to(number * g_.rows() + row);
      windows_.pack_rows(data_.kv, 0, g_.dim_key, key_depth_, keys_.data());
      windows_.pack_rows(data_.kv, g_.value, g_.dim_value, value_depth_, values_.data());
      windows_.pack_pairs(data_.kv, 0, g_.dim_key, key_pairs_.data());
      for (int64_t column = 0; column < g_.columns(); ++column) {
        const int64_t scales = (number * g_.blocks() + row * g_.columns() + column) * g_.queries();
        for (int64_t first = 0; first < g_.queries(); first += chunks_ * DEPTH) {
          differentiate(column, first, data_.scales + 2 * scales);
        }
      }
    }
    write_sums();
  }

  // What its blocks gave to the gradients of the position tables.
  std::vector<float> take_tables() { return std::move(diff_tables_); }

  // Adds that to the gradients themselves.
  static void add_tables(const Geometry& g, const ShortGradients& data, const std::vector<float>& tables) {
    const float scale = g.scale_position ? g.scale() : 1.f;
    const int64_t dims = round_up(g.dim_key, SIDE), widths = round_up(2 * g.window.height - 1, DEPTH);
    const auto add = [&](int64_t first, int64_t keys, float* target) {
      for (int64_t row = 0; row < 2 * keys - 1; ++row) {
        for (int64_t d = 0; d < g.dim_key; ++d) target[row * g.dim_key + d] += scale * tables[(first + row) * dims + d];
      }
    };
    add(0, g.window.height, data.diff_height_rel);
    add(widths, g.window.width, data.diff_width_rel);
  }

 private:
  static constexpr int64_t MOST_CHUNKS = 2;  // of 32 queries: what is kept of them stays in the cache

  // [d][pair of rows] of both tables, one after the other.
  void pack_tables(const PackedTable& heights, const PackedTable& widths) {
    const auto pack = [&](const PackedTable& table, int64_t first) {
      for (int64_t row = 0; row < table.rows(); ++row) {
        for (int64_t d = 0; d < g_.dim_key; ++d) {
          const uint32_t bits = table.row(row)[d].bits;
          table_pairs_[(d * table_rows_ + first + row) / 2] |= bits << (row % 2 * 16);
        }
      }
    };
    pack(heights, 0);
    pack(widths, width_rows_);
  }

  // Of a block's queries from `first` on, as many as are kept.
  void differentiate(int64_t column, int64_t first, const float* scales) {
    const int64_t end = std::min(first + chunks_ * DEPTH, round_up(g_.queries(), SIDE));
    const int64_t half_chunks = (end - first) / SIDE;
    for (int64_t half = 0; half < 2 * chunks_; ++half) {
      windows_.find_queries(column, first + half * SIDE, g_.q, q_index_ + half * SIDE);
      windows_.find_queries(column, first + half * SIDE, g_.out, out_index_ + half * SIDE);
    }
    pack_query_rows(data_.q, q_index_, g_.dim_key, query_rows_.data());
    pack_query_rows(data_.diff_out, out_index_, g_.dim_value, diff_rows_.data());
    for (int64_t half = 0; half < half_chunks; ++half) {
      compute_slopes(column, first + half * SIDE, half, scales);
      differentiate_queries(column, q_index_ + half * SIDE);
    }
    // What is left of earlier queries in the last chunk meets zeros there.
    const int64_t chunks = (half_chunks + 1) / 2, pairs = half_chunks == 1 ? SIDE / 2 : SIDE;
    const int64_t stride = key_dims_ + value_dims_;
    float* sums = sums_.data() + windows_.row() * g_.block.height * windows_.width * stride;
    const auto find = [&](int64_t tile) { return sums + windows_.find_tile(column, tile) * stride; };
    sum_queries(slope_rows_, query_rows_, tiles_, key_dims_, chunks, pairs, stride, find);
    sum_queries(weight_rows_, diff_rows_, tiles_, value_dims_, chunks, pairs, stride,
                [&](int64_t tile) { return find(tile) + key_dims_; });
    sum_queries(table_slopes_, query_rows_, table_rows_ / SIDE, key_dims_, chunks, pairs, key_dims_,
                [&](int64_t tile) { return diff_tables_.data() + tile * SIDE * key_dims_; });
  }

  // [tile of d][chunk][pair of queries][d]
  void pack_query_rows(const bfloat16* numbers, const int64_t* index, int64_t count, uint32_t* rows) const {
    for (int64_t half = 0; half < 2 * chunks_; ++half, index += SIDE) {
      for (int64_t d = 0; d < count; d += SIDE) {
        uint32_t* target = rows + (d / SIDE * chunks_ * 2 + half) * AREA / 2;
        const __mmask16 lanes = lanes_below(count - d);
        const auto find = [&](int i) { return index[i] < 0 ? nothing_.data() : numbers + index[i] + d; };
        for (int i = 0; i < SIDE; i += 2) _mm512_storeu_ps(target + i / 2 * SIDE, interleave(find(i), find(i + 1), lanes));
      }
    }
  }

  // Weights, and the loss's slope by each logit: weight * (its own slope - the mean slope under the weights).
  void compute_slopes(int64_t column, int64_t first, int64_t half, const float* scales) {
    windows_.pack_columns(data_.q, q_index_ + half * SIDE, g_.dim_key, queries_.data());
    windows_.pack_columns(data_.diff_out, out_index_ + half * SIDE, g_.dim_value, diff_queries_.data());
    windows_.multiply(
        tiles_, g_.dim_value,
        [&](int64_t i) { return as_pairs(values_.data() + windows_.find_tile(column, i) * value_depth_); },
        diff_queries_.data(), slopes_.data());
    alignas(64) float of_most[SIDE] = {}, of_inverse[SIDE] = {};  // lanes beyond the last query have weights of zero
    for (int64_t i = 0; i < std::min<int64_t>(SIDE, g_.queries() - first); ++i) {
      of_most[i] = scales[2 * (first + i)];
      of_inverse[i] = scales[2 * (first + i) + 1];
    }
    const __m512 most = _mm512_load_ps(of_most), inverse = _mm512_load_ps(of_inverse);
    __m512 means[2] = {};
    const float* slopes = slopes_.data();
    const float* weights = windows_.compute_logits(
        column, first, keys_.data(), queries_.data(), [&, slopes](int64_t place, __m512 logit, auto part) {
          const __m512 weight = _mm512_mul_ps(short_exp(_mm512_sub_ps(logit, most)), inverse);
          means[part] = _mm512_fmadd_ps(weight, _mm512_loadu_ps(slopes + place), means[part]);
          return weight;
        });
    keep_slopes(first, half, weights, _mm512_add_ps(means[0], means[1]));
    keep_positions(half);
  }

  // Sums of slopes over the rows and the columns of the window are those by position logits.
  void keep_slopes(int64_t first, int64_t half, const float* weights, __m512 mean) {
    // Addresses of their own, as what is written might be taken for members.
    const float* slopes = slopes_.data();
    const int64_t stride = chunks_ * DEPTH, line = windows_.strips * AREA;
    bfloat16 *const weight_rows = weight_rows_.data() + half * SIDE, *const slope_rows = slope_rows_.data() + half * SIDE;
    const auto keep_slope = [=](int64_t key) {
      const __m512 weight = _mm512_loadu_ps(weights + key * SIDE);
      const __m512 slope = _mm512_mul_ps(weight, _mm512_sub_ps(_mm512_loadu_ps(slopes + key * SIDE), mean));
      store_bfloat16(weight_rows + key * stride, weight);
      store_bfloat16(slope_rows + key * stride, slope);
      return slope;
    };
    std::fill(by_position_.begin(), by_position_.end(), 0.f);
    std::fill(in_column_.begin(), in_column_.end(), 0.f);
    float *const by_height = by_position_.data(), *const by_width = by_height + width_rows_ * SIDE;
    float* const in_column = in_column_.data();
    const TableLanes &heights = windows_.height_lanes(first), &widths = windows_.width_lanes(first);
    const int64_t height = g_.window.height, width = g_.window.width;
    for (int64_t y = 0; y < height; y += 2) {
      const bool has_lower = y + 1 < height;
      __m512 in_upper = _mm512_setzero_ps(), in_lower = _mm512_setzero_ps();
      uint32_t* const pairs = slope_pairs_.data() + y / 2 * line;
      for (int64_t x = 0; x < width; ++x) {
        const __m512 upper = keep_slope(y * line / SIDE + x);
        const __m512 lower = has_lower ? keep_slope((y + 1) * line / SIDE + x) : _mm512_setzero_ps();
        in_upper = _mm512_add_ps(in_upper, upper);
        in_lower = _mm512_add_ps(in_lower, lower);
        const __m512 both = _mm512_add_ps(upper, lower);
        _mm512_storeu_ps(in_column + x * SIDE, _mm512_add_ps(_mm512_loadu_ps(in_column + x * SIDE), both));
        _mm512_storeu_si512(pairs + x * SIDE, make_pairs(upper, lower));
      }
      heights.add(in_upper, by_height + y * SIDE);
      if (has_lower) heights.add(in_lower, by_height + (y + 1) * SIDE);
    }
    for (int64_t x = 0; x < width; ++x) widths.add(_mm512_loadu_ps(in_column + x * SIDE), by_width + x * SIDE);
  }

  // Those by position logits, in the two forms that products take.
  void keep_positions(int64_t half) {
    const float* slopes = by_position_.data();
    const int64_t stride = chunks_ * DEPTH;
    bfloat16* const table_slopes = table_slopes_.data() + half * SIDE;
    for (int64_t row = 0; row < table_rows_; row += 2) {
      const __m512 upper = _mm512_loadu_ps(slopes + row * SIDE), lower = _mm512_loadu_ps(slopes + (row + 1) * SIDE);
      _mm512_storeu_si512(position_pairs_.data() + row / 2 * SIDE, make_pairs(upper, lower));
      store_bfloat16(table_slopes + row * stride, upper);
      store_bfloat16(table_slopes + (row + 1) * stride, lower);
    }
  }

  void differentiate_queries(int64_t column, const int64_t* index) {
    const __m512 of_key = _mm512_set1_ps(g_.scale()), of_position = _mm512_set1_ps(g_.scale_position ? g_.scale() : 1.f);
    alignas(64) float by_key[4 * AREA], by_table[4 * AREA];
    for (int64_t d = 0; d < key_dims_; d += 2 * SIDE) {
      const int64_t count = std::min<int64_t>(2, (key_dims_ - d) / SIDE);
      windows_.sum_keys(column, key_pairs_.data(), key_dims_, d, count, slope_pairs_.data(), by_key);
      windows_.tiles.sum_square(
          table_rows_ / DEPTH, table_rows_ / 2, count, 1,
          [&](int64_t i, int64_t tile) { return table_pairs_.data() + (d + tile * SIDE) * table_rows_ / 2 + i * SIDE; },
          [&](int64_t i, int64_t) { return position_pairs_.data() + i * AREA; }, by_table);
      for (int64_t tile = 0; tile < count; ++tile) {
        float* sums = by_key + 2 * tile * AREA;
        const float* others = by_table + 2 * tile * AREA;
        for (int i = 0; i < AREA; i += SIDE) {
          const __m512 position = _mm512_mul_ps(of_position, _mm512_load_ps(others + i));
          _mm512_store_ps(sums + i, _mm512_fmadd_ps(of_key, _mm512_load_ps(sums + i), position));
        }
        const int64_t start = d + tile * SIDE;
        windows_.write_queries(sums, index, lanes_below(g_.dim_key - start), data_.diff_q + start);
      }
    }
  }

  // find(tile)[row][d] += the sum over queries of rows[16 * tile + row][query] * numbers[query][d]
  template <typename Find>
  void sum_queries(const std::vector<bfloat16>& rows, const std::vector<uint32_t>& numbers, int64_t tiles, int64_t dims,
                   int64_t chunks, int64_t pairs, int64_t stride, const Find& find) const {
    alignas(64) float products[4 * AREA];
    const int64_t line = chunks_ * SIDE;  // pairs of a row
    for (int64_t tile = 0; tile < tiles; tile += 2) {
      const int64_t tall = std::min<int64_t>(2, tiles - tile);
      for (int64_t d = 0; d < dims; d += 2 * SIDE) {
        const int64_t wide = std::min<int64_t>(2, (dims - d) / SIDE);
        windows_.tiles.sum_square(
            chunks, line, tall, wide,
            [&](int64_t i, int64_t row) { return as_pairs(rows.data()) + (tile + row) * SIDE * line + i * SIDE; },
            [&](int64_t i, int64_t column) { return numbers.data() + ((d / SIDE + column) * chunks_ + i) * AREA; },
            products, pairs);
        for (int64_t row = 0; row < tall; ++row) {
          for (int64_t column = 0; column < wide; ++column) {
            const float* product = products + (2 * row + column) * AREA;
            float* target = find(tile + row) + d + column * SIDE;
            for (int i = 0; i < SIDE; ++i, target += stride) {
              _mm512_storeu_ps(target, _mm512_add_ps(_mm512_loadu_ps(target), _mm512_load_ps(product + i * SIDE)));
            }
          }
        }
      }
    }
  }

  void write_sums() const {
    const __m512 scale = _mm512_set1_ps(g_.scale());
    const int64_t stride = key_dims_ + value_dims_;
    for (int64_t y = 0; y < g_.kv.height; ++y) {
      for (int64_t x = 0; x < g_.kv.width; ++x) {
        const float* sums = sums_.data() + ((y + g_.halo) * windows_.width + x + g_.halo) * stride;
        bfloat16* target = data_.diff_kv + g_.kv.index(windows_.image(), y, x, windows_.head());
        for (int64_t d = 0; d < g_.dim_key; d += SIDE) {
          store_bfloat16(target + d, _mm512_mul_ps(scale, _mm512_loadu_ps(sums + d)), lanes_below(g_.dim_key - d));
        }
        for (int64_t d = 0; d < g_.dim_value; d += SIDE) {
          store_bfloat16(target + g_.value + d, _mm512_loadu_ps(sums + key_dims_ + d), lanes_below(g_.dim_value - d));
        }
      }
    }
  }

  const Geometry& g_;
  const ShortGradients& data_;
  WindowRow windows_;
  // Keys and values, rounded up to what products sum up, and to whole tiles; tiles of keys; chunks of queries kept.
  const int64_t key_depth_, value_depth_, key_dims_, value_dims_, tiles_, chunks_;
  const int64_t table_rows_, width_rows_;  // of both tables, each rounded up; where that for widths starts
  int64_t q_index_[2 * MOST_CHUNKS * SIDE], out_index_[2 * MOST_CHUNKS * SIDE];  // where queries that are kept start, or -1
  std::vector<bfloat16> keys_, values_;
  std::vector<uint32_t> key_pairs_, table_pairs_, queries_, diff_queries_;
  std::vector<float> slopes_, in_column_;
  std::vector<uint32_t> slope_pairs_;
  std::vector<float> by_position_;  // slopes by position logits, in the tables' rows
  std::vector<uint32_t> position_pairs_;
  std::vector<bfloat16> weight_rows_, slope_rows_, table_slopes_;  // [row][query]
  std::vector<uint32_t> query_rows_, diff_rows_;
  const std::vector<bfloat16> nothing_;
  std::vector<float> diff_tables_;
  std::vector<float> sums_;  // [y][x][d of keys, then of values] of the whole map, with what lies around it
};

}  // namespace

bool can_differentiate_bfloat16(const Geometry& g) { return !g.scrambled; }

void differentiate_bfloat16(const Geometry& g, const ShortGradients& data) {
  const PackedTable heights(data.height_rel, g.window.height, g.dim_key);
  const PackedTable widths(data.width_rel, g.window.width, g.dim_key);
  std::fill(data.diff_height_rel, data.diff_height_rel + (2 * g.window.height - 1) * g.dim_key, 0.f);
  std::fill(data.diff_width_rel, data.diff_width_rel + (2 * g.window.width - 1) * g.dim_key, 0.f);
  std::vector<std::vector<float>> tables(num_threads());
  parallel_ranges(g.batch * g.heads, [&](int thread, int64_t begin, int64_t end) {
    HeadGradients gradients(g, data, heights, widths);
    for (int64_t number = begin; number < end; ++number) gradients.run(number);
    tables[thread] = gradients.take_tables();
  });
  for (const std::vector<float>& part : tables) {
    if (!part.empty()) HeadGradients::add_tables(g, data, part);
  }
}

#else

bool can_differentiate_bfloat16(const Geometry&) { return false; }

void differentiate_bfloat16(const Geometry&, const ShortGradients&) {
  throw std::runtime_error("this processor has no instructions for bfloat16");
}

#endif

}  // namespace halo
