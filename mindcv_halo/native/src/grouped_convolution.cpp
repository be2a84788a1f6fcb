#include "grouped_convolution.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "activation.hpp"
#include "threads.hpp"
#include "tile.hpp"
#include "vector_bfloat16.hpp"

namespace halo {
namespace {

constexpr int64_t GROUP = 16;
constexpr int VECTORS = GROUP / LANES;
constexpr int MOST = LANES == 16 ? 16 : LANES == 8 ? 4 : 2;  // pixels whose sums are kept in registers

// Sums of `pixels` pixels of a row, from the `kernel` rows of the map that they look at, whose pixels lie one after the
// other.
template <int pixels, int stride>
inline void sum_taps(const float* const* rows, int64_t kernel, const float* weights, float* sums) {
  Vector sum[pixels][VECTORS] = {};
  for (int64_t row = 0; row < kernel; ++row) {
    const float* map = rows[row];
    for (int64_t i = 0; i < kernel * GROUP; ++i, weights += GROUP) {
      Vector weight[VECTORS];
      for (int v = 0; v < VECTORS; ++v) weight[v] = vector_at(weights + v * LANES);
#pragma GCC unroll 16
      for (int p = 0; p < pixels; ++p) {
        for (int v = 0; v < VECTORS; ++v) sum[p][v] += map[p * stride * GROUP + i] * weight[v];
      }
    }
  }
  for (int p = 0; p < pixels; ++p) {
    for (int v = 0; v < VECTORS; ++v) vector_at(sums + p * GROUP + v * LANES) = sum[p][v];
  }
}

// Bias, shortcut and activation of `pixels` pixels, whose numbers are `stride` apart in both maps.
template <Activation activation, int pixels>
inline void finish(float* sums, const float* bias, const float* added, int64_t stride, float* out) {
  for (int p = 0; p < pixels; ++p) {
    for (int v = 0; v < GROUP; v += LANES) {
      Vector& sum = vector_at(sums + p * GROUP + v);
      if (bias != nullptr) sum += vector_at(bias + v);
      if (added != nullptr) sum += vector_at(added + p * stride + v);
    }
  }
#pragma GCC ivdep
  for (int i = 0; i < pixels * GROUP; ++i) sums[i] = activate<activation>(sums[i]);
  for (int p = 0; p < pixels; ++p) std::memcpy(out + p * stride, sums + p * GROUP, GROUP * sizeof(float));
}

void pack_group(const float* weights, int64_t taps, float* packed) {
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t in = 0; in < GROUP; ++in) {
      for (int64_t out = 0; out < GROUP; ++out) *packed++ = weights[(out * GROUP + in) * taps + tap];
    }
  }
}

#if defined(HALO_BFLOAT16)
template <int pixels, int stride>
inline void sum_taps(const bfloat16* const* rows, int64_t kernel, const uint32_t* weights, float* sums) {
  __m512 sum[pixels];
#pragma GCC unroll 16
  for (int p = 0; p < pixels; ++p) sum[p] = _mm512_setzero_ps();
  for (int64_t row = 0; row < kernel; ++row) {
    const bfloat16* map = rows[row];
    for (int64_t i = 0; i < kernel * GROUP; i += 2, weights += GROUP) {
      const auto weight = (__m512bh)_mm512_loadu_si512(weights);
#pragma GCC unroll 16
      for (int p = 0; p < pixels; ++p) {
        int32_t pair;
        std::memcpy(&pair, map + p * stride * GROUP + i, sizeof(pair));
        sum[p] = _mm512_dpbf16_ps(sum[p], (__m512bh)_mm512_set1_epi32(pair), weight);
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < pixels; ++p) _mm512_storeu_ps(sums + p * GROUP, sum[p]);
}

template <Activation activation, int pixels>
inline void finish(const float* sums, const float* bias, const bfloat16* added, int64_t stride, bfloat16* out) {
  for (int p = 0; p < pixels; ++p) {
    __m512 x = _mm512_loadu_ps(sums + p * GROUP);
    if (bias != nullptr) x = _mm512_add_ps(x, _mm512_loadu_ps(bias));
    if (added != nullptr) x = _mm512_add_ps(x, load_bfloat16(added + p * stride));
    if constexpr (activation == Activation::RELU) x = _mm512_max_ps(_mm512_setzero_ps(), x);
    if constexpr (activation == Activation::SILU) x = short_silu(x);
    store_bfloat16(out + p * stride, x);
  }
}

// Pairs of channels: the first below, the second above.
void pack_group(const float* weights, int64_t taps, uint32_t* packed) {
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t in = 0; in < GROUP; in += 2) {
      for (int64_t out = 0; out < GROUP; ++out) {
        const float* both = weights + (out * GROUP + in) * taps + tap;
        *packed++ = uint32_t(bfloat16(both[0]).bits) | uint32_t(bfloat16(both[taps]).bits) << 16;
      }
    }
  }
}
#endif

// One group of one image.
template <typename Element, typename Weight>
class Group {
 public:
  Group(const Grouped& shape, const Weight* weights, const float* bias)
      : shape_(shape),
        weights_(weights),
        bias_(bias),
        margin_(shape.kernel / 2),
        length_(std::max(margin_ + shape.width, (shape.out_width - 1) * shape.stride + shape.kernel) * GROUP),
        lines_(shape.kernel * length_),
        rows_(shape.kernel) {}

  void run(const Element* map, const Element* added, Element* out) {
    with_activation(shape_.activation, [&](auto tag) {
      constexpr Activation activation = decltype(tag)::activation;
      shape_.stride == 1 ? visit_rows<activation, 1>(map, added, out) : visit_rows<activation, 2>(map, added, out);
    });
  }

 private:
  template <Activation activation, int stride>
  void visit_rows(const Element* map, const Element* added, Element* out) {
    int64_t next = -margin_;  // the first row that is not copied yet
    for (int64_t y = 0; y < shape_.out_height; ++y) {
      const int64_t top = y * stride - margin_;
      for (next = std::max(next, top); next < top + shape_.kernel; ++next) copy_row(map, next);
      for (int64_t row = 0; row < shape_.kernel; ++row) rows_[row] = find_line(top + row);
      const int64_t start = y * shape_.out_width * shape_.channels;
      visit_pixels<activation, stride, MOST>(0, added == nullptr ? nullptr : added + start, out + start);
    }
  }

  // Pixels from `x` on: as many at a time as fit, and what is left in halves of that.
  template <Activation activation, int stride, int pixels>
  void visit_pixels(int64_t x, const Element* added, Element* out) {
    alignas(64) float sums[pixels * GROUP];
    for (; x + pixels <= shape_.out_width; x += pixels) {
      sum_taps<pixels, stride>(rows_.data(), shape_.kernel, weights_, sums);
      for (auto& row : rows_) row += pixels * stride * GROUP;
      const int64_t at = x * shape_.channels;
      finish<activation, pixels>(sums, bias_, added == nullptr ? nullptr : added + at, shape_.channels, out + at);
    }
    if constexpr (pixels > 1) visit_pixels<activation, stride, pixels / 2>(x, added, out);
  }

  Element* find_line(int64_t y) { return lines_.data() + (y + shape_.kernel) % shape_.kernel * length_; }

  // A row of the map with zeros at both ends, or nothing but zeros.
  void copy_row(const Element* map, int64_t y) {
    Element* line = find_line(y);
    std::memset(static_cast<void*>(line), 0, length_ * sizeof(Element));
    if (y < 0 || y >= shape_.height) return;
    const Element* source = map + y * shape_.width * shape_.channels;
    for (int64_t x = 0; x < shape_.width; ++x) {
      std::memcpy(line + (margin_ + x) * GROUP, source + x * shape_.channels, GROUP * sizeof(Element));
    }
  }

  const Grouped& shape_;
  const Weight* weights_;
  const float* bias_;
  const int64_t margin_, length_;
  std::vector<Element> lines_;
  std::vector<const Element*> rows_;
};

int64_t count_group(const Grouped& shape, Type type) {
  return shape.kernel * shape.kernel * GROUP * GROUP / (type == Type::BFLOAT16 ? 2 : 1);
}

template <typename Element, typename Weight>
void convolve(const Grouped& shape, const Element* map, const Weight* packed, const float* bias, const Element* added,
              Element* out) {
  const int64_t groups = shape.channels / GROUP;
  parallel_ranges(shape.batch * groups, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t image = i / groups, group = i % groups, channel = group * GROUP;
      Group<Element, Weight> one(shape, packed + group * count_group(shape, type_of<Element>),
                                 bias == nullptr ? nullptr : bias + channel);
      const int64_t target = image * shape.out_height * shape.out_width * shape.channels + channel;
      one.run(map + image * shape.height * shape.width * shape.channels + channel,
              added == nullptr ? nullptr : added + target, out + target);
    }
  });
}

// Calls body(tag of the maps' numbers, tag of the weights').
template <typename Body>
void with_types(Type type, const Body& body) {
#if defined(HALO_BFLOAT16)
  if (type == Type::BFLOAT16) return body(ElementTag<bfloat16>(), ElementTag<uint32_t>());
#endif
  body(ElementTag<float>(), ElementTag<float>());
}

}  // namespace

bool takes_groups(Type type, int64_t channels, int64_t out_channels, int64_t groups, int64_t stride) {
#if !defined(HALO_BFLOAT16)
  if (type == Type::BFLOAT16) return false;
#endif
  return groups > 1 && channels == groups * GROUP && out_channels == channels && stride <= 2;
}

int64_t count_packed(const Grouped& shape, Type type) { return shape.channels / GROUP * count_group(shape, type); }

void pack_weights(const Grouped& shape, Type type, const float* weights, void* packed) {
  const int64_t taps = shape.kernel * shape.kernel, size = count_group(shape, type);
  with_types(type, [&](auto, auto tag) {
    using Weight = typename decltype(tag)::type;
    parallel_ranges(shape.channels / GROUP, [&](int, int64_t begin, int64_t end) {
      for (int64_t group = begin; group < end; ++group) {
        pack_group(weights + group * GROUP * GROUP * taps, taps, static_cast<Weight*>(packed) + group * size);
      }
    });
  });
}

void convolve_groups(const Grouped& shape, Type type, const void* map, const void* packed, const float* bias,
                     const void* added, void* out) {
  with_types(type, [&](auto maps, auto tag) {
    using Element = typename decltype(maps)::type;
    using Weight = typename decltype(tag)::type;
    convolve(shape, static_cast<const Element*>(map), static_cast<const Weight*>(packed), bias,
             static_cast<const Element*>(added), static_cast<Element*>(out));
  });
}

}  // namespace halo
