// Products of tiles of bfloat16 whose sums are float32, for processors that have instructions for it: AMX, which works
// on whole tiles, or AVX-512 BF16, which works on their rows.
#pragma once

#include <cstdint>

#include "vector_bfloat16.hpp"

#if defined(HALO_BFLOAT16)
namespace halo {

constexpr int SIDE = 16;             // rows and columns of a tile of float32; a tile of bfloat16 has 16 x 16 pairs
constexpr int AREA = SIDE * SIDE;

// Whether there are tiles that the system lets this process use, which it must ask for, and nobody forbade them.
bool may_use_tiles();

// The processor's tiles, from here to the end of the scope, in this thread.
class Tiles {
 public:
  Tiles() : on_(may_use_tiles()) {
#if defined(__AMX_BF16__)
    if (!on_) return;
    alignas(64) uint8_t whole[64] = {1};  // palette 1; then bytes of a row, two each, and numbers of rows
    for (int tile = 0; tile < 8; ++tile) whole[16 + 2 * tile] = 64, whole[48 + tile] = SIDE;
    _tile_loadconfig(whole);
#endif
  }
  Tiles(const Tiles&) = delete;
  ~Tiles() {
#if defined(__AMX_BF16__)
    if (on_) _tile_release();
#endif
  }

  // out[i] = left(i) * right for `count` tiles, one after the other in `out`; rows of left are `stride` pairs apart. As
  // sum_products for each, but that right is read once and two products are under way at a time.
  template <typename Left>
  void multiply_each(int64_t count, int64_t stride, int64_t pairs, const Left& left, const uint32_t* right,
                     float* out) const {
    int64_t i = 0;
#if defined(__AMX_BF16__)
    if (on_) {
      constexpr int64_t LINE = SIDE * sizeof(float);
      _tile_loadd(4, right, LINE);
      for (; i + 2 <= count; i += 2) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_loadd(2, left(i), stride * sizeof(uint32_t));
        _tile_loadd(3, left(i + 1), stride * sizeof(uint32_t));
        _tile_dpbf16ps(0, 2, 4);
        _tile_dpbf16ps(1, 3, 4);
        _tile_stored(0, out + i * AREA, LINE);
        _tile_stored(1, out + (i + 1) * AREA, LINE);
      }
    }
#endif
    for (; i < count; ++i) {
      sum_products(1, stride, [&](int64_t) { return left(i); }, [&](int64_t) { return right; }, out + i * AREA, pairs);
    }
  }

  // The sums of sum_products for `tall` times `wide` tiles, 1 or 2 of each, so that each is read once for both of the
  // others: of left(i, row) and right(i, column), to out + (2 * row + column) * AREA.
  template <typename Left, typename Right>
  void sum_square(int64_t count, int64_t stride, int64_t tall, int64_t wide, const Left& left, const Right& right,
                  float* out, int64_t pairs = SIDE) const {
#if defined(__AMX_BF16__)
    if (on_) {
      constexpr int64_t LINE = SIDE * sizeof(float);
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
      _tile_zero(3);
      for (int64_t i = 0; i < count; ++i) {
        _tile_loadd(4, left(i, 0), stride * sizeof(uint32_t));
        _tile_loadd(6, right(i, 0), LINE);
        _tile_dpbf16ps(0, 4, 6);
        if (wide > 1) {
          _tile_loadd(7, right(i, 1), LINE);
          _tile_dpbf16ps(1, 4, 7);
        }
        if (tall > 1) {
          _tile_loadd(5, left(i, 1), stride * sizeof(uint32_t));
          _tile_dpbf16ps(2, 5, 6);
          if (wide > 1) _tile_dpbf16ps(3, 5, 7);
        }
      }
      _tile_stored(0, out, LINE);
      if (wide > 1) _tile_stored(1, out + AREA, LINE);
      if (tall > 1) _tile_stored(2, out + 2 * AREA, LINE);
      if (tall > 1 && wide > 1) _tile_stored(3, out + 3 * AREA, LINE);
      return;
    }
#endif
    for (int64_t row = 0; row < tall; ++row) {
      for (int64_t column = 0; column < wide; ++column) {
        sum_products(count, stride, [&](int64_t i) { return left(i, row); }, [&](int64_t i) { return right(i, column); },
                     out + (2 * row + column) * AREA, pairs);
      }
    }
  }

  // out[row][column] = the sum over i < count and pairs of left(i)[row][pair] . right(i)[pair][column]; rows of left
  // are `stride` pairs apart, all others 16. Where fewer than 16 `pairs` matter, the others must be zeros on one side
  // and numbers on the other, as AMX multiplies them all.
  template <typename Left, typename Right>
  void sum_products(int64_t count, int64_t stride, const Left& left, const Right& right, float* out,
                    int64_t pairs = SIDE) const {
#if defined(__AMX_BF16__)
    if (on_) {
      _tile_zero(0);
      for (int64_t i = 0; i < count; ++i) {
        _tile_loadd(1, left(i), stride * sizeof(uint32_t));
        _tile_loadd(2, right(i), SIDE * sizeof(uint32_t));
        _tile_dpbf16ps(0, 1, 2);
      }
      _tile_stored(0, out, SIDE * sizeof(float));
      return;
    }
#endif
    __m512 sums[SIDE];
    for (int row = 0; row < SIDE; ++row) sums[row] = _mm512_setzero_ps();
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t *rows = left(i), *lines = right(i);
      for (int64_t pair = 0; pair < pairs; ++pair) {
        const auto columns = (__m512bh)_mm512_loadu_si512(lines + pair * SIDE);
#pragma GCC unroll 16
        for (int row = 0; row < SIDE; ++row) {
          sums[row] = _mm512_dpbf16_ps(sums[row], (__m512bh)_mm512_set1_epi32(rows[row * stride + pair]), columns);
        }
      }
    }
    for (int row = 0; row < SIDE; ++row) _mm512_storeu_ps(out + row * SIDE, sums[row]);
  }

 private:
  const bool on_;
};

}  // namespace halo

#endif
