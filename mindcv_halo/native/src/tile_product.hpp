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
  void multiply_each(int64_t count, int64_t stride, const Left& left, const uint32_t* right, float* out) const {
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
      sum_products(1, stride, [&](int64_t) { return left(i); }, [&](int64_t) { return right; }, out + i * AREA);
    }
  }

  // The sums of sum_products for one row of tiles on the left and `wide` of them on the right, 1 or 2: right(i, 0) and
  // right(i, 1). Two in `out`, one after the other, of which each left tile is read once.
  template <typename Left, typename Right>
  void sum_beside(int64_t count, int64_t stride, const Left& left, const Right& right, int64_t wide, float* out) const {
#if defined(__AMX_BF16__)
    if (on_ && wide == 2) {
      constexpr int64_t LINE = SIDE * sizeof(float);
      _tile_zero(0);
      _tile_zero(1);
      for (int64_t i = 0; i < count; ++i) {
        _tile_loadd(2, left(i), stride * sizeof(uint32_t));
        _tile_loadd(3, right(i, 0), LINE);
        _tile_loadd(4, right(i, 1), LINE);
        _tile_dpbf16ps(0, 2, 3);
        _tile_dpbf16ps(1, 2, 4);
      }
      _tile_stored(0, out, LINE);
      _tile_stored(1, out + AREA, LINE);
      return;
    }
#endif
    for (int64_t other = 0; other < wide; ++other) {
      sum_products(count, stride, left, [&](int64_t i) { return right(i, other); }, out + other * AREA);
    }
  }

  // out(i) = the sum over j < depth of left(j) * right(i, j) for `count` tiles whose rows are `line` numbers apart.
  template <typename Left, typename Right, typename Out>
  void multiply_into(int64_t count, int64_t depth, int64_t stride, const Left& left, const Right& right,
                     const Out& out, int64_t line) const {
    int64_t i = 0;
#if defined(__AMX_BF16__)
    if (on_ && depth == 1) {
      constexpr int64_t LINE = SIDE * sizeof(float);
      _tile_loadd(4, left(0), stride * sizeof(uint32_t));
      for (; i + 2 <= count; i += 2) {
        _tile_zero(0);
        _tile_zero(1);
        _tile_loadd(2, right(i, 0), LINE);
        _tile_loadd(3, right(i + 1, 0), LINE);
        _tile_dpbf16ps(0, 4, 2);
        _tile_dpbf16ps(1, 4, 3);
        _tile_stored(0, out(i), line * sizeof(float));
        _tile_stored(1, out(i + 1), line * sizeof(float));
      }
    }
#endif
    for (; i < count; ++i) {
      sum_products(depth, stride, left, [&](int64_t j) { return right(i, j); }, out(i), line);
    }
  }

  // out[row][column] = the sum over i < count and pairs of left(i)[row][pair] . right(i)[pair][column]; rows of left
  // are `stride` pairs apart, those of out `line` numbers, and those of right 16 pairs.
  template <typename Left, typename Right>
  void sum_products(int64_t count, int64_t stride, const Left& left, const Right& right, float* out,
                    int64_t line = SIDE) const {
#if defined(__AMX_BF16__)
    if (on_) {
      _tile_zero(0);
      for (int64_t i = 0; i < count; ++i) {
        _tile_loadd(1, left(i), stride * sizeof(uint32_t));
        _tile_loadd(2, right(i), SIDE * sizeof(uint32_t));
        _tile_dpbf16ps(0, 1, 2);
      }
      _tile_stored(0, out, line * sizeof(float));
      return;
    }
#endif
    __m512 sums[SIDE];
    for (int row = 0; row < SIDE; ++row) sums[row] = _mm512_setzero_ps();
    for (int64_t i = 0; i < count; ++i) {
      const uint32_t *rows = left(i), *pairs = right(i);
      for (int pair = 0; pair < SIDE; ++pair) {
        const auto columns = (__m512bh)_mm512_loadu_si512(pairs + pair * SIDE);
#pragma GCC unroll 16
        for (int row = 0; row < SIDE; ++row) {
          sums[row] = _mm512_dpbf16_ps(sums[row], (__m512bh)_mm512_set1_epi32(rows[row * stride + pair]), columns);
        }
      }
    }
    for (int row = 0; row < SIDE; ++row) _mm512_storeu_ps(out + row * line, sums[row]);
  }

 private:
  const bool on_;
};

}  // namespace halo

#endif
