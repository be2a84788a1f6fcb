// Where the blocks of halo attention, their queries and the keys of their windows lie.
#pragma once

#include <algorithm>
#include <cmath>
#include <type_traits>
#include <vector>

#include "kernel.hpp"
#include "tile.hpp"

namespace halo {

struct Sides {
  int64_t height, width;

  int64_t area() const { return height * width; }
};

// Where a head's numbers lie in a channels-last map: from one pixel to the next, from one head to the next, how many.
struct HeadMap {
  int64_t height, width, pixel, head, depth;

  int64_t index(int64_t image, int64_t y, int64_t x, int64_t number) const {
    return ((image * height + y) * width + x) * pixel + number * head;
  }
};

// `kv` is of keys, whose values are `value` numbers further on.
struct Geometry {
  int64_t batch, heads, dim_key, dim_value, value;
  HeadMap q, kv, out;
  Sides block, query, window;  // of a block in pixels of the map, of its queries, of its keys
  int64_t halo;
  bool mask_padding, scale_position, scrambled;

  int64_t keys() const { return window.area(); }
  int64_t queries() const { return query.area(); }
  int64_t rows() const { return (kv.height + block.height - 1) / block.height; }
  int64_t columns() const { return (kv.width + block.width - 1) / block.width; }
  int64_t blocks() const { return rows() * columns(); }
  int64_t depth() const { return dim_key + dim_value; }
  int64_t padded_keys() const { return round_up(keys(), UNROLL); }
  float scale() const { return 1.f / std::sqrt(static_cast<float>(dim_key)); }
};

// By the numbers of the arguments. Throws where they do not fit each other.
inline Geometry read_geometry(const Arguments& args, int q, int kv, int table, int out, int settings_index) {
  args.expect_size(settings_index, 7);
  const int64_t* settings = args.settings(settings_index);
  const int64_t block = settings[0], halo = settings[1], heads = settings[2], query = settings[3];
  if (block < 1 || halo < 0 || heads < 1 || query < 1 || query > block) throw std::length_error("settings are out of their range");
  args.expect_map(q);
  args.expect_map(kv);
  const int64_t window = block + 2 * halo;
  if (args.axes(table) != 2) throw std::length_error("position tables must have 2 axes");
  args.expect(table, {2 * window - 1, args.side(table, 1)});
  args.expect_same(table + 1, table);
  const int64_t batch = args.side(kv, 0), dim_key = args.side(table, 1);
  const int64_t keys = heads * dim_key, both = args.side(kv, 3);
  args.expect(q, {batch, args.side(q, 1), args.side(q, 2), keys});
  if (keys < 1 || both % heads || both <= keys) throw std::length_error("heads do not divide the channels");
  args.expect_map(out);
  args.expect(out, {batch, args.side(out, 1), args.side(out, 2), both - keys});
  const int64_t depth = both / heads, dim_value = depth - dim_key;
  const Geometry geometry = {batch,
                             heads,
                             dim_key,
                             dim_value,
                             dim_key,
                             {args.side(q, 1), args.side(q, 2), keys, dim_key, dim_key},
                             {args.side(kv, 1), args.side(kv, 2), both, depth, dim_key},
                             {args.side(out, 1), args.side(out, 2), both - keys, dim_value, dim_value},
                             {block, block},
                             {query, query},
                             {window, window},
                             halo,
                             settings[4] != 0,
                             settings[5] != 0,
                             settings[6] != 0};
  for (const HeadMap& map : {geometry.q, geometry.out}) {
    if (map.height > geometry.rows() * query || map.width > geometry.columns() * query) {
      throw std::length_error("a map of queries is larger than its blocks");
    }
  }
  return geometry;
}

// The same for attention over whole maps of [all q | all k | all v]: one block without a halo. Its keys start `heads *
// dim_key` numbers after its queries.
inline Geometry read_whole_map(const Arguments& args, int qkv, int table, int out, int settings_index) {
  args.expect_size(settings_index, 1);
  const int64_t heads = args.settings(settings_index)[0];
  args.expect_map(qkv);
  const int64_t batch = args.side(qkv, 0), height = args.side(qkv, 1), width = args.side(qkv, 2);
  const int64_t all = args.side(qkv, 3), channels = all / 3, depth = heads < 1 ? 0 : channels / heads;
  if (depth < 1 || depth * heads * 3 != all) throw std::length_error("heads do not divide the channels");
  args.expect(table, {2 * height - 1, depth});
  args.expect(table + 1, {2 * width - 1, depth});
  args.expect(out, {batch, height, width, channels});
  const HeadMap inside = {height, width, all, depth, depth}, made = {height, width, channels, depth, depth};
  const Sides map = {height, width};
  return {batch, heads, depth, depth, channels, inside, inside, made, map, map, map, 0, false, false, false};
}

// Calls run(tile), an integral constant: how many queries fit in the vectors that work on a block's at once.
template <typename Run>
void with_tile(const Geometry& g, const Run& run) {
  if (g.queries() > LANES) return run(std::integral_constant<int, 2 * LANES>());
  run(std::integral_constant<int, LANES>());
}

// The pixel of each key of a block's window, or -1 for one outside the map.
inline void find_pixels(const Geometry& g, int64_t image, int64_t row, int64_t column, int64_t* pixel) {
  const int64_t top = row * g.block.height - g.halo, left = column * g.block.width - g.halo;
  for (int64_t y = top; y < top + g.window.height; ++y) {
    for (int64_t x = left; x < left + g.window.width; ++x) {
      const bool inside = y >= 0 && y < g.kv.height && x >= 0 && x < g.kv.width;
      *pixel++ = inside ? (image * g.kv.height + y) * g.kv.width + x : -1;
    }
  }
}

// MindCV unfolds a window as (position, channel) and reads the result as (channel, position). Calls visit(place in a
// head's part of it, key that it comes from, channel there, count) for runs of numbers of one key.
template <typename Visit>
void visit_unfolded(const Geometry& g, int64_t head, const Visit& visit) {
  const int64_t channels = g.heads * g.depth(), size = g.depth() * g.keys();
  for (int64_t place = 0; place < size;) {
    const int64_t key = (head * size + place) / channels, channel = (head * size + place) % channels;
    const int64_t count = std::min(channels - channel, size - place);
    visit(place, key, channel, count);
    place += count;
  }
}

// A head's part of it, (depth, keys).
template <typename Element>
void unfold_head(const Geometry& g, int64_t head, const int64_t* pixel, const Element* kv, Element* unfolded) {
  visit_unfolded(g, head, [&](int64_t place, int64_t key, int64_t channel, int64_t count) {
    if (pixel[key] < 0) {
      std::fill(unfolded + place, unfolded + place + count, Element(0.f));
    } else {
      const Element* source = kv + pixel[key] * g.kv.pixel + channel;
      std::copy(source, source + count, unfolded + place);
    }
  });
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
  std::vector<float> unfolded, window;  // of a scrambled window, (depth, keys) and (keys, depth)

  explicit Block(const Geometry& geometry)
      : g(geometry),
        nothing(g.value + g.dim_value, 0.f),
        key(g.padded_keys(), nothing.data()),
        pixel(g.keys()),
        q_key(g.dim_key * TILE),
        q_position(g.dim_key * TILE),
        unfolded(g.scrambled ? g.keys() * g.depth() : 0),
        window(unfolded.size()) {}

  void move_to(int64_t number, const float* kv) {
    column = number % g.columns();
    row = number / g.columns() % g.rows();
    head = number / g.blocks() % g.heads;
    image = number / (g.blocks() * g.heads);
    find_pixels(g, image, row, column, pixel.data());
    if (g.scrambled) {
      unfold_head(g, head, pixel.data(), kv, unfolded.data());
      swap_sides(unfolded.data(), g.depth(), g.keys(), window.data());
    }
    for (int64_t k = 0; k < g.keys(); ++k) {
      if (g.scrambled) {
        key[k] = window.data() + k * g.depth();
      } else {
        key[k] = pixel[k] < 0 ? nothing.data() : kv + pixel[k] * g.kv.pixel + head * g.kv.head;
      }
    }
  }

  // Where query `q` of the block starts in a map, or -1 if that map has no such pixel.
  int64_t query_index(int64_t q, const HeadMap& map) const {
    const int64_t y = row * g.query.height + q / g.query.width, x = column * g.query.width + q % g.query.width;
    return q >= g.queries() || y >= map.height || x >= map.width ? -1 : map.index(image, y, x, head);
  }

  // out[d][q] of the queries `first` and on: zeros where the map has none.
  void read_columns(const float* numbers, int64_t first, const HeadMap& map, float* out) const {
    for (int64_t start = 0; start < TILE; start += LANES) {
      const float* row[LANES];
      for (int i = 0; i < LANES; ++i) {
        const int64_t index = query_index(first + start + i, map);
        row[i] = index < 0 ? nothing.data() : numbers + index;
      }
      turn_rows(row, map.depth, TILE, out + start);
    }
  }

  // The other way round.
  void write_columns(const float* columns, int64_t first, const HeadMap& map, float* numbers) const {
    for (int64_t start = 0; start < TILE; start += LANES) {
      float* row[LANES];
      for (int i = 0; i < LANES; ++i) {
        const int64_t index = query_index(first + start + i, map);
        row[i] = index < 0 ? nullptr : numbers + index;
      }
      int64_t d = 0;
      for (; d + LANES <= map.depth; d += LANES) {
        Vector square[LANES];
        for (int i = 0; i < LANES; ++i) square[i] = vector_at(columns + (d + i) * TILE + start);
        transpose(square);
        for (int i = 0; i < LANES; ++i) {
          if (row[i] != nullptr) vector_at(row[i] + d) = square[i];
        }
      }
      for (; d < map.depth; ++d) {
        for (int i = 0; i < LANES; ++i) {
          if (row[i] != nullptr) row[i][d] = columns[d * TILE + start + i];
        }
      }
    }
  }

  // out[q][d], rows of `stride` numbers.
  void read_rows(const float* numbers, int64_t first, const HeadMap& map, int64_t stride, float* out) const {
    for (int64_t q = 0; q < TILE; ++q) {
      const int64_t index = query_index(first + q, map);
      const float* row = index < 0 ? nothing.data() : numbers + index;
      std::copy(row, row + map.depth, out + q * stride);
    }
  }

  void read_queries(const float* q, int64_t first) {
    const float scale = g.scale();
    read_columns(q, first, g.q, q_position.data());
    for (size_t i = 0; i < q_key.size(); ++i) q_key[i] = q_position[i] * scale;
    if (g.scale_position) q_position = q_key;
  }
};

}  // namespace halo
