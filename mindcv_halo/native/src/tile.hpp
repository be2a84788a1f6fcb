// Products of small matrices that stay in the cache: a tile of queries lies along the vectors' lanes.
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>

namespace halo {

#if defined(__AVX512F__)
constexpr int LANES = 16, UNROLL = 8;
#elif defined(__AVX2__)
constexpr int LANES = 8, UNROLL = 4;
#else
constexpr int LANES = 4, UNROLL = 8;
#endif

typedef float Vector __attribute__((vector_size(LANES * sizeof(float)), aligned(sizeof(float)), may_alias));

inline Vector& vector_at(float* data) { return *reinterpret_cast<Vector*>(data); }
inline const Vector& vector_at(const float* data) { return *reinterpret_cast<const Vector*>(data); }

inline int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Lanes of two vectors, by numbers below 2 * LANES, which `index` gives for each lane.
template <typename Index, int... lanes>
inline Vector pick(const Vector& one, const Vector& other, Index index, std::integer_sequence<int, lanes...>) {
#if defined(__clang__)
  return __builtin_shufflevector(one, other, index(std::integral_constant<int, lanes>())...);
#else
  typedef int32_t Lanes __attribute__((vector_size(LANES * sizeof(int32_t))));
  return __builtin_shuffle(one, other, Lanes{index(std::integral_constant<int, lanes>())...});
#endif
}

// Swaps rows and columns of a square of LANES numbers a side: at each stage, its quarters off the diagonal.
template <int HALF = LANES / 2>
inline void transpose(Vector* rows) {
  constexpr auto all = std::make_integer_sequence<int, LANES>();
  for (int i = 0; i < LANES; ++i) {
    if (i & HALF) continue;
    const Vector upper = rows[i], lower = rows[i + HALF];
    rows[i] = pick(upper, lower, [](auto lane) { return lane & HALF ? LANES + lane - HALF : lane; }, all);
    rows[i + HALF] = pick(upper, lower, [](auto lane) { return lane & HALF ? LANES + lane : lane + HALF; }, all);
  }
  if constexpr (HALF > 1) transpose<HALF / 2>(rows);
}

// out[i][lane] = row[lane][i] for i below `size`, rows of `stride` numbers.
inline void turn_rows(const float* const* row, int64_t size, int64_t stride, float* out) {
  int64_t first = 0;
  for (; first + LANES <= size; first += LANES) {
    Vector square[LANES];
    for (int i = 0; i < LANES; ++i) square[i] = vector_at(row[i] + first);
    transpose(square);
    for (int i = 0; i < LANES; ++i) vector_at(out + (first + i) * stride) = square[i];
  }
  for (; first < size; ++first) {
    for (int i = 0; i < LANES; ++i) out[first * stride + i] = row[i][first];
  }
}

// (rows, columns) -> (columns, rows)
inline void swap_sides(const float* in, int64_t rows, int64_t columns, float* out) {
  for (int64_t row = 0; row < rows; row += LANES) {
    for (int64_t column = 0; column < columns; column += LANES) {
      if (row + LANES <= rows && column + LANES <= columns) {
        Vector square[LANES];
        for (int i = 0; i < LANES; ++i) square[i] = vector_at(in + (row + i) * columns + column);
        transpose(square);
        for (int i = 0; i < LANES; ++i) vector_at(out + (column + i) * rows + row) = square[i];
        continue;
      }
      for (int64_t r = row; r < std::min(rows, row + LANES); ++r) {
        for (int64_t c = column; c < std::min(columns, column + LANES); ++c) out[c * rows + r] = in[r * columns + c];
      }
    }
  }
}

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

template <int TILE, int VECTORS>
void collect_dims(const float* weights, int64_t keys, const float* operand, int64_t stride, float* target) {
  for (int64_t k = 0; k < keys; k += UNROLL) {
    Vector sum[UNROLL][VECTORS] = {};
    for (int q = 0; q < TILE; ++q) {
      Vector value[VECTORS];
      for (int v = 0; v < VECTORS; ++v) value[v] = vector_at(operand + q * stride + v * LANES);
#pragma GCC unroll 8
      for (int i = 0; i < UNROLL; ++i) {
        const float weight = weights[(k + i) * TILE + q];
        for (int v = 0; v < VECTORS; ++v) sum[i][v] += weight * value[v];
      }
    }
    for (int i = 0; i < UNROLL; ++i) {
      for (int v = 0; v < VECTORS; ++v) vector_at(target + (k + i) * stride + v * LANES) += sum[i][v];
    }
  }
}

// target[k][d] += sum over q of weights[k][q] * operand[q][d], rows of `stride` numbers, a multiple of LANES.
template <int TILE>
void collect_queries(const float* weights, int64_t keys, const float* operand, int64_t stride, float* target) {
  int64_t d = 0;
  for (; d + 2 * LANES <= stride; d += 2 * LANES) collect_dims<TILE, 2>(weights, keys, operand + d, stride, target + d);
  for (; d < stride; d += LANES) collect_dims<TILE, 1>(weights, keys, operand + d, stride, target + d);
}

}  // namespace halo
