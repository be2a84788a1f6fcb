// What a batch norm and its gradients do with the numbers of one pixel: loops over channels that compilers vectorise,
// and for SiLU in bfloat16 the same with a sigmoid that is as exact as bfloat16 needs, which takes half the time.
#pragma once

#include <type_traits>

#include "activation.hpp"
#include "element.hpp"
#include "vector_bfloat16.hpp"

namespace halo {

// What turns a map into its norm, x * scale + shift.
struct Affine {
  const float *scale, *shift;
};

#if defined(HALO_BFLOAT16)

// 16 numbers at a time, all of them: a masked store makes the load after it wait.
struct AllLanes {
  static __m512 read(const float* numbers) { return _mm512_loadu_ps(numbers); }
  static __m512 read(const bfloat16* numbers) { return load_bfloat16(numbers); }
  static void write(float* numbers, __m512 value) { _mm512_storeu_ps(numbers, value); }
  static void write(bfloat16* numbers, __m512 value) { store_bfloat16(numbers, value); }
};

struct SomeLanes {
  __mmask16 lanes;

  __m512 read(const float* numbers) const { return _mm512_maskz_loadu_ps(lanes, numbers); }
  __m512 read(const bfloat16* numbers) const { return load_bfloat16(numbers, lanes); }
  void write(float* numbers, __m512 value) const { _mm512_mask_storeu_ps(numbers, lanes, value); }
  void write(bfloat16* numbers, __m512 value) const { store_bfloat16(numbers, value, lanes); }
};

// Calls body(c, lanes) for each 16 channels from c on.
template <typename Body>
void visit_channels(int64_t channels, const Body& body) {
  int64_t c = 0;
  for (; c + 16 <= channels; c += 16) body(c, AllLanes());
  if (c < channels) body(c, SomeLanes{lanes_below(channels - c)});
}

template <bool adds, typename Lanes>
__m512 normalise(int64_t c, Lanes lanes, const Affine& affine, __m512 x, const bfloat16* added) {
  const __m512 z = _mm512_fmadd_ps(x, lanes.read(affine.scale + c), lanes.read(affine.shift + c));
  if constexpr (adds) return _mm512_add_ps(z, lanes.read(added + c));
  return z;
}

inline __m512 multiply_silu_slope(__m512 diff, __m512 z) {
  const __m512 one = _mm512_set1_ps(1.f), gate = short_sigmoid(z);
  return _mm512_mul_ps(diff, _mm512_mul_ps(gate, _mm512_fmadd_ps(z, _mm512_sub_ps(one, gate), one)));
}

template <bool adds>
void normalise_silu_row(int64_t channels, const Affine& affine, const bfloat16* x, const bfloat16* added, bfloat16* out) {
  visit_channels(channels, [=](int64_t c, auto lanes) {
    lanes.write(out + c, short_silu(normalise<adds>(c, lanes, affine, lanes.read(x + c), added)));
  });
}

template <bool adds>
void sum_silu_row(int64_t channels, const Affine& affine, const float* mean, const bfloat16* diff_out, const bfloat16* x,
                  const bfloat16* added, bfloat16* diff_added, float* sum, float* sum_with_x) {
  visit_channels(channels, [=](int64_t c, auto lanes) {
    const __m512 number = lanes.read(x + c), z = normalise<adds>(c, lanes, affine, number, added);
    const __m512 d = multiply_silu_slope(lanes.read(diff_out + c), z);
    if constexpr (adds) lanes.write(diff_added + c, d);
    const __m512 offset = _mm512_sub_ps(number, lanes.read(mean + c));
    lanes.write(sum + c, _mm512_add_ps(d, lanes.read(sum + c)));
    lanes.write(sum_with_x + c, _mm512_fmadd_ps(d, offset, lanes.read(sum_with_x + c)));
  });
}

inline void differentiate_silu_row(int64_t channels, const Affine& affine, const float* mean, const float* mean_diff,
                                   const float* mean_slope, const bfloat16* diff_out, const bfloat16* x, bfloat16* diff_x) {
  visit_channels(channels, [=](int64_t c, auto lanes) {
    const __m512 number = lanes.read(x + c);
    __m512 d = multiply_silu_slope(lanes.read(diff_out + c), normalise<false>(c, lanes, affine, number, nullptr));
    const __m512 offset = _mm512_sub_ps(number, lanes.read(mean + c));
    d = _mm512_fnmadd_ps(offset, lanes.read(mean_slope + c), _mm512_sub_ps(d, lanes.read(mean_diff + c)));
    lanes.write(diff_x + c, _mm512_mul_ps(d, lanes.read(affine.scale + c)));
  });
}

#endif

template <Activation activation, typename Element>
constexpr bool is_short_silu = activation == Activation::SILU && std::is_same_v<Element, bfloat16>;

// out = activation(norm(x) + added)
template <Activation activation, bool adds, typename Element>
void normalise_row(int64_t channels, const Affine& affine, const Element* x, const Element* added, Element* out) {
#if defined(HALO_BFLOAT16)
  if constexpr (is_short_silu<activation, Element>) return normalise_silu_row<adds>(channels, affine, x, added, out);
#endif
#pragma GCC ivdep
  for (int64_t c = 0; c < channels; ++c) {
    float z = x[c] * affine.scale[c] + affine.shift[c];
    if constexpr (adds) z += added[c];
    out[c] = Element(activate<activation>(z));
  }
}

// The gradient by norm(x) + added.
template <Activation activation, bool adds, typename Element>
float find_slope(int64_t c, const Affine& affine, const Element* diff_out, const Element* x, const Element* added) {
  float z = x[c] * affine.scale[c] + affine.shift[c];
  if constexpr (adds) z += added[c];
  return diff_out[c] * activation_slope<activation>(z);
}

// Adds that gradient and its product with x - mean to two sums. With `adds` it is written, too.
template <Activation activation, bool adds, typename Element>
void sum_row(int64_t channels, const Affine& affine, const float* mean, const Element* diff_out, const Element* x,
             const Element* added, Element* diff_added, float* sum, float* sum_with_x) {
#if defined(HALO_BFLOAT16)
  if constexpr (is_short_silu<activation, Element>) {
    return sum_silu_row<adds>(channels, affine, mean, diff_out, x, added, diff_added, sum, sum_with_x);
  }
#endif
#pragma GCC ivdep
  for (int64_t c = 0; c < channels; ++c) {
    const float d = find_slope<activation, adds>(c, affine, diff_out, x, added);
    if constexpr (adds) diff_added[c] = Element(d);
    sum[c] += d;
    sum_with_x[c] += d * (x[c] - mean[c]);
  }
}

// The map's gradient from `diff`, which is diff_added with `adds` and else diff_out.
template <Activation activation, bool adds, typename Element>
void differentiate_row(int64_t channels, const Affine& affine, const float* mean, const float* mean_diff,
                       const float* mean_slope, const Element* diff, const Element* x, Element* diff_x) {
#if defined(HALO_BFLOAT16)
  if constexpr (!adds && is_short_silu<activation, Element>) {
    return differentiate_silu_row(channels, affine, mean, mean_diff, mean_slope, diff, x, diff_x);
  }
#endif
#pragma GCC ivdep
  for (int64_t c = 0; c < channels; ++c) {
    const float d = adds ? float(diff[c]) : find_slope<activation, false>(c, affine, diff, x, static_cast<const Element*>(nullptr));
    diff_x[c] = Element(affine.scale[c] * (d - mean_diff[c] - (x[c] - mean[c]) * mean_slope[c]));
  }
}

}  // namespace halo
