// Products of tiles of bfloat16 whose sums are float32, for processors that have instructions for it: AMX, which works
// on whole tiles, or AVX-512 BF16, which works on their rows.
#pragma once

#include <cstdint>

#if defined(__AVX512BF16__) && defined(__AVX512BW__)
#define HALO_BFLOAT16 1

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace halo {

constexpr int SIDE = 16;             // rows and columns of a tile of float32; a tile of bfloat16 has 16 x 16 pairs
constexpr int AREA = SIDE * SIDE;

#if defined(__AMX_BF16__) && defined(__linux__)
// Whether the system lets this process use tiles, which it must ask for.
inline bool may_use_tiles() {
  constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // of arch_prctl
  static const bool allowed = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
  return allowed;
}
#else
inline bool may_use_tiles() { return false; }
#endif

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

  // out[row][column] = the sum over i < count and pairs of left(i)[row][pair] . right(i)[pair][column]; rows of left
  // are `stride` pairs apart, all others 16.
  template <typename Left, typename Right>
  void sum_products(int64_t count, int64_t stride, const Left& left, const Right& right, float* out) const {
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
      const uint32_t *rows = left(i), *pairs = right(i);
      for (int pair = 0; pair < SIDE; ++pair) {
        const auto columns = (__m512bh)_mm512_loadu_si512(pairs + pair * SIDE);
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

// e^x for x <= 0, to a few digits more than bfloat16 has.
inline __m512 exp_of_negative(__m512 x) {
  const __m512 scaled = _mm512_mul_ps(x, _mm512_set1_ps(1.44269504f));
  const __m512 whole = _mm512_roundscale_ps(scaled, 8);
  const __m512 rest = _mm512_sub_ps(scaled, whole);  // in [-1/2, 1/2]
  __m512 power = _mm512_set1_ps(0.0096180f);
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.0555041f));
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.2402265f));
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(0.6931472f));
  power = _mm512_fmadd_ps(power, rest, _mm512_set1_ps(1.f));
  return _mm512_scalef_ps(power, whole);
}

// Pairs of bfloat16: lane i has first[i] below and second[i] above.
inline __m512i make_pairs(__m512 first, __m512 second) {
  alignas(64) static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

}  // namespace halo

#endif
