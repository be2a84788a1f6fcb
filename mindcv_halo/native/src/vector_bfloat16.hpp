// Functions of 16 numbers at once that are as exact as bfloat16 needs, for processors that have instructions for it.
#pragma once

#include <cstdint>

#if defined(__AVX512BF16__) && defined(__AVX512BW__) && defined(__AVX512VL__)
#define HALO_BFLOAT16 1

#include <immintrin.h>

namespace halo {

// e^x to some five digits.
inline __m512 short_exp(__m512 x) {
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

// To some four digits.
inline __m512 short_sigmoid(__m512 x) {
  return _mm512_rcp14_ps(_mm512_add_ps(_mm512_set1_ps(1.f), short_exp(_mm512_sub_ps(_mm512_setzero_ps(), x))));
}

inline __m512 short_silu(__m512 x) { return _mm512_mul_ps(x, short_sigmoid(x)); }

// 16 numbers, of which `lanes` are read and written.
inline __m512 load_bfloat16(const void* data, __mmask16 lanes = 0xffff) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, data));
  return _mm512_castsi512_ps(_mm512_slli_epi32(low, 16));
}

inline void store_bfloat16(void* data, __m512 numbers, __mmask16 lanes = 0xffff) {
  _mm256_mask_storeu_epi16(data, lanes, (__m256i)_mm512_cvtneps_pbh(numbers));
}

// 32 numbers as they are, of which the first `count` are read, and zeros.
inline __m512i load_32(const void* data, int64_t count) {
  const __mmask32 lanes = count >= 32 ? 0xffffffff : (1u << count) - 1;
  return _mm512_maskz_loadu_epi16(lanes, data);
}

inline __mmask16 lanes_below(int64_t count) { return count >= 16 ? 0xffff : static_cast<__mmask16>((1 << count) - 1); }

// Pairs of bfloat16: lane i has first[i] below and second[i] above.
inline __m512i make_pairs(__m512 first, __m512 second) {
  alignas(64) static const uint16_t order[32] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                                 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return _mm512_permutexvar_epi16(_mm512_load_si512(order), (__m512i)_mm512_cvtne2ps_pbh(second, first));
}

// 16 pairs of bfloat16, lane i has first[i] below and second[i] above, of those in `lanes`.
inline __m512 interleave(const void* first, const void* second, __mmask16 lanes) {
  const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, first));
  const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, second));
  return _mm512_castsi512_ps(_mm512_or_si512(low, _mm512_slli_epi32(high, 16)));
}

}  // namespace halo

#endif
