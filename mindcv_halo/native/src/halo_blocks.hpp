// Where the blocks of halo attention, their queries and the keys of their windows lie.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "kernel.hpp"
#include "tile.hpp"

namespace halo {

struct Geometry {
  int64_t batch, height, width, heads, dim_key, dim_value;
  int64_t query_height, query_width, out_height, out_width;
  int64_t block, halo, query;  // sides of a block in pixels of the map, of its rim, of its queries
  bool mask_padding, scale_position;
  int64_t window, keys, queries, rows, columns;
  float scale;

  // As read_geometry, without its checks; `settings`: block, halo, heads, query, mask_padding, scale_position.
  Geometry(const Arguments& args, int q, int kv, int table, int out, const int64_t* settings)
      : batch(args.side(kv, 0)),
        height(args.side(kv, 1)),
        width(args.side(kv, 2)),
        heads(settings[2]),
        dim_key(args.side(table, 1)),
        dim_value(args.side(kv, 3) / settings[2] - args.side(table, 1)),
        query_height(args.side(q, 1)),
        query_width(args.side(q, 2)),
        out_height(args.side(out, 1)),
        out_width(args.side(out, 2)),
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
    scale = 1.f / std::sqrt(static_cast<float>(dim_key));
  }
  int64_t depth() const { return dim_key + dim_value; }
  int64_t padded_keys() const { return round_up(keys, UNROLL); }
};

// By the numbers of the arguments. Throws where they do not fit each other.
inline Geometry read_geometry(const Arguments& args, int q, int kv, int table, int out, int settings_index) {
  args.expect_size(settings_index, 6);
  const int64_t* settings = args.settings(settings_index);
  const int64_t block = settings[0], halo = settings[1], heads = settings[2], query = settings[3];
  if (block < 1 || halo < 0 || heads < 1 || query < 1) throw std::length_error("settings are out of their range");
  args.expect_map(q);
  args.expect_map(kv);
  const int64_t rows = 2 * (block + 2 * halo) - 1;
  if (args.axes(table) != 2) throw std::length_error("position tables must have 2 axes");
  args.expect(table, {rows, args.side(table, 1)});
  args.expect_same(table + 1, table);
  const int64_t keys = heads * args.side(table, 1), both = args.side(kv, 3);
  args.expect(q, {args.side(kv, 0), args.side(q, 1), args.side(q, 2), keys});
  if (keys < 1 || both % heads || both <= keys) throw std::length_error("heads do not divide the channels");
  args.expect_map(out);
  args.expect(out, {args.side(kv, 0), args.side(out, 1), args.side(out, 2), both - keys});
  const Geometry geometry(args, q, kv, table, out, settings);
  if (args.side(out, 1) > geometry.rows * query || args.side(out, 2) > geometry.columns * query) {
    throw std::length_error("the output is larger than its blocks");
  }
  return geometry;
}

// Calls run(tile), an integral constant: how many queries fit in the vectors that work on a block's at once.
template <typename Run>
void with_tile(const Geometry& g, const Run& run) {
  if (g.queries > LANES) return run(std::integral_constant<int, 2 * LANES>());
  run(std::integral_constant<int, LANES>());
}

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
    int64_t k = 0;
    for (int64_t y = row * g.block - g.halo; y < row * g.block + g.block + g.halo; ++y) {
      for (int64_t x = column * g.block - g.halo; x < column * g.block + g.block + g.halo; ++x, ++k) {
        const bool inside = y >= 0 && y < g.height && x >= 0 && x < g.width;
        pixel[k] = inside ? (image * g.height + y) * g.width + x : -1;
        key[k] = inside ? kv + (pixel[k] * g.heads + head) * g.depth() : nothing.data();
      }
    }
  }

  // Where query `q` of the block starts in a map of `depth` numbers a head, or -1 if that map has no such pixel.
  int64_t query_index(int64_t q, int64_t height, int64_t width, int64_t depth) const {
    const int64_t y = row * g.query + q / g.query, x = column * g.query + q % g.query;
    if (q >= g.queries || y >= height || x >= width) return -1;
    return (((image * height + y) * width + x) * g.heads + head) * depth;
  }

  // out[d][q] of the queries `first` and on: zeros where the map has none.
  void read_columns(const float* map, int64_t first, int64_t height, int64_t width, int64_t depth, float* out) const {
    for (int64_t start = 0; start < TILE; start += LANES) {
      const float* row[LANES];
      for (int i = 0; i < LANES; ++i) {
        const int64_t index = query_index(first + start + i, height, width, depth);
        row[i] = index < 0 ? nothing.data() : map + index;
      }
      int64_t d = 0;
      for (; d + LANES <= depth; d += LANES) {
        Vector square[LANES];
        for (int i = 0; i < LANES; ++i) square[i] = vector_at(row[i] + d);
        transpose(square);
        for (int i = 0; i < LANES; ++i) vector_at(out + (d + i) * TILE + start) = square[i];
      }
      for (; d < depth; ++d) {
        for (int i = 0; i < LANES; ++i) out[d * TILE + start + i] = row[i][d];
      }
    }
  }

  // The other way round.
  void write_columns(const float* columns, int64_t first, int64_t height, int64_t width, int64_t depth,
                     float* map) const {
    for (int64_t start = 0; start < TILE; start += LANES) {
      float* row[LANES];
      for (int i = 0; i < LANES; ++i) {
        const int64_t index = query_index(first + start + i, height, width, depth);
        row[i] = index < 0 ? nullptr : map + index;
      }
      int64_t d = 0;
      for (; d + LANES <= depth; d += LANES) {
        Vector square[LANES];
        for (int i = 0; i < LANES; ++i) square[i] = vector_at(columns + (d + i) * TILE + start);
        transpose(square);
        for (int i = 0; i < LANES; ++i) {
          if (row[i] != nullptr) vector_at(row[i] + d) = square[i];
        }
      }
      for (; d < depth; ++d) {
        for (int i = 0; i < LANES; ++i) {
          if (row[i] != nullptr) row[i][d] = columns[d * TILE + start + i];
        }
      }
    }
  }

  // out[q][d], rows of `stride` numbers.
  void read_rows(const float* map, int64_t first, int64_t height, int64_t width, int64_t depth, int64_t stride,
                 float* out) const {
    for (int64_t q = 0; q < TILE; ++q) {
      const int64_t index = query_index(first + q, height, width, depth);
      const float* row = index < 0 ? nothing.data() : map + index;
      std::copy(row, row + depth, out + q * stride);
    }
  }

  void read_queries(const float* q, int64_t first) {
    read_columns(q, first, g.query_height, g.query_width, g.dim_key, q_position.data());
    for (size_t i = 0; i < q_key.size(); ++i) q_key[i] = q_position[i] * g.scale;
    if (g.scale_position) q_position = q_key;
  }
};

}  // namespace halo
