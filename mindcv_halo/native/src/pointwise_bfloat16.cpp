#include "pointwise_bfloat16.hpp"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <vector>

#include "activation.hpp"
#include "threads.hpp"
#include "tile.hpp"
#include "tile_product.hpp"

namespace halo {

#if defined(HALO_BFLOAT16) && defined(__AMX_BF16__)
namespace {

constexpr int64_t ROWS = 2 * SIDE, COLUMNS = 2 * SIDE;  // of what one product works on: two tiles by two
constexpr int64_t DEPTH = 2 * SIDE;                     // channels in a row of a tile
constexpr int64_t LONGEST = 512;                        // channels whose weights for COLUMNS stay in the first cache
constexpr int64_t PANEL = 1 << 16;                      // numbers of both maps that stay in the second
constexpr int64_t FEW = 4;                              // blocks for which packing the map costs more than it spares
constexpr int64_t TILE = SIDE * SIDE;                   // pairs in a tile
constexpr int64_t AHEAD = 8 * TILE;                     // pairs of weights from what is multiplied to what is fetched

// Sums of a block of ROWS by COLUMNS: `a` are two columns of tiles whose rows are `row` bytes apart, the lower tile
// `lower` and the next one to the right `next` bytes away; `b` are packed weights.
void multiply_block(const char* a, int64_t row, int64_t lower, int64_t next, const uint32_t* b, int64_t count,
                    bool goes_on, bool reads_ahead, float* sums) {
  constexpr int64_t LINE = COLUMNS * sizeof(float);
  float* below = sums + SIDE * COLUMNS;
  if (goes_on) {
    _tile_loadd(0, sums, LINE);
    _tile_loadd(1, sums + SIDE, LINE);
    _tile_loadd(2, below, LINE);
    _tile_loadd(3, below + SIDE, LINE);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int64_t i = 0; i < count; ++i) {
    if (reads_ahead) {
      for (int line = 0; line < 2 * TILE; line += SIDE) _mm_prefetch(b + AHEAD + line, _MM_HINT_T0);
    }
    _tile_loadd(4, a, row);
    _tile_loadd(6, b, 64);
    _tile_loadd(7, b + TILE, 64);
    _tile_loadd(5, a + lower, row);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
    a += next;
    b += 2 * TILE;
  }
  _tile_stored(0, sums, LINE);
  _tile_stored(1, sums + SIDE, LINE);
  _tile_stored(2, below, LINE);
  _tile_stored(3, below + SIDE, LINE);
}

template <Activation activation>
inline __m512 activate_short(__m512 x) {
  if constexpr (activation == Activation::RELU) return _mm512_max_ps(_mm512_setzero_ps(), x);  // what is no number stays none
  if constexpr (activation == Activation::SILU) return short_silu(x);
  return x;
}

// Bias, shortcut and activation of `rows` rows of a block.
template <Activation activation, bool adds>
void finish_block(const float* sums, int64_t rows, const float* bias, const bfloat16* added, int64_t stride,
                  bfloat16* out) {
  const __m512 left_bias = bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(bias);
  const __m512 right_bias = bias == nullptr ? _mm512_setzero_ps() : _mm512_loadu_ps(bias + SIDE);
  for (int64_t row = 0; row < rows; ++row) {
    __m512 left = _mm512_add_ps(_mm512_loadu_ps(sums + row * COLUMNS), left_bias);
    __m512 right = _mm512_add_ps(_mm512_loadu_ps(sums + row * COLUMNS + SIDE), right_bias);
    if constexpr (adds) {
      left = _mm512_add_ps(left, load_bfloat16(added + row * stride));
      right = _mm512_add_ps(right, load_bfloat16(added + row * stride + SIDE));
    }
    left = activate_short<activation>(left);
    right = activate_short<activation>(right);
    _mm512_storeu_si512(out + row * stride, (__m512i)_mm512_cvtne2ps_pbh(right, left));
  }
}

// What one thread needs for its part of the pixels and of the output's channels.
class Part {
 public:
  Part(const Pointwise& shape, const bfloat16* map, const uint32_t* packed, const float* bias, const bfloat16* added,
       bfloat16* out)
      : shape_(shape), map_(map), packed_(packed), bias_(bias), added_(added), out_(out) {}

  // Pixels of the output and blocks of COLUMNS channels.
  void run(int64_t begin, int64_t end, int64_t first_block, int64_t end_block) {
    const int64_t channels = shape_.channels;
    const int64_t written = (end_block - first_block) * COLUMNS;
    const int64_t height = std::max(ROWS, PANEL / (channels + written) / ROWS * ROWS);
    const int64_t whole = std::min(height, (end - begin + ROWS - 1) / ROWS * ROWS);
    sums_.resize((channels > LONGEST ? whole : ROWS) * COLUMNS);  // of a panel, or of a strip's block
    for (int64_t top = begin; top < end; top += height) {
      const int64_t rows = std::min(height, end - top);
      const bool packs = shape_.stride > 1 || end_block - first_block > FEW || rows % ROWS > 0;
      if (packs) pack_panel(top, rows);
      start_ = packs ? panel_.data() : map_ + top * channels;
      row_ = packs ? DEPTH : channels;
      next_ = packs ? ROWS * DEPTH : DEPTH;
      if (channels > LONGEST) {
        for (int64_t block = first_block; block < end_block; ++block) multiply_panel(top, rows, block);
      } else {
        for (int64_t row = 0; row < rows; row += ROWS) multiply_strip(top, row, rows, first_block, end_block);
      }
    }
  }

 private:
  // Tiles one after the other: for each ROWS pixels, for each DEPTH channels, the pixels' numbers.
  void pack_panel(int64_t top, int64_t rows) {
    const int64_t channels = shape_.channels, padded = (rows + ROWS - 1) / ROWS * ROWS;
    panel_.resize(padded * channels);
    for (int64_t row = 0; row < padded; ++row) {
      char* target = reinterpret_cast<char*>(panel_.data() + row / ROWS * ROWS * channels + row % ROWS * DEPTH);
      const bfloat16* source = row < rows ? find_pixel(top + row) : nullptr;
      for (int64_t channel = 0; channel < channels; channel += DEPTH, target += ROWS * DEPTH * sizeof(bfloat16)) {
        const __m512i line = source == nullptr ? _mm512_setzero_si512() : _mm512_loadu_si512(source + channel);
        _mm512_storeu_si512(target, line);
      }
    }
  }

  const bfloat16* find_pixel(int64_t pixel) const {
    if (shape_.stride == 1) return map_ + pixel * shape_.channels;
    const int64_t x = pixel % shape_.out_width, line = pixel / shape_.out_width;
    const int64_t y = line % shape_.out_height, image = line / shape_.out_height;
    return map_ + ((image * shape_.height + y * shape_.stride) * shape_.width + x * shape_.stride) * shape_.channels;
  }

  // ROWS pixels by all blocks: the output grows line by line, which memory takes faster than columns of it.
  void multiply_strip(int64_t top, int64_t row, int64_t rows, int64_t first_block, int64_t end_block) {
    const int64_t channels = shape_.channels, height = std::min(ROWS, rows - row);
    const auto* a = reinterpret_cast<const char*>(start_ + row * channels);
    for (int64_t block = first_block; block < end_block; ++block) {
      const bfloat16* target = out_ + (top + row) * shape_.out_channels + block * COLUMNS;
      for (int64_t line = 0; line < height; ++line) __builtin_prefetch(target + line * shape_.out_channels, 1);
      multiply_block(a, row_ * sizeof(bfloat16), SIDE * row_ * sizeof(bfloat16), next_ * sizeof(bfloat16),
                     packed_ + block * COLUMNS * channels / 2, channels / DEPTH, false, row == 0, sums_.data());
      finish(sums_.data(), top + row, height, block * COLUMNS);
    }
  }

  // All rows by one block, whose sums go on from LONGEST channels to the next.
  void multiply_panel(int64_t top, int64_t rows, int64_t block) {
    const int64_t channels = shape_.channels;
    const uint32_t* weights = packed_ + block * COLUMNS * channels / 2;
    for (int64_t first = 0; first < channels; first += LONGEST) {
      const int64_t count = std::min(LONGEST, channels - first) / DEPTH;
      const bool is_last = first + LONGEST >= channels;
      for (int64_t row = 0; row < rows; row += ROWS) {
        float* sums = sums_.data() + row * COLUMNS;
        const auto* a = reinterpret_cast<const char*>(start_ + row * channels + first / DEPTH * next_);
        multiply_block(a, row_ * sizeof(bfloat16), SIDE * row_ * sizeof(bfloat16), next_ * sizeof(bfloat16),
                       weights + first * COLUMNS / 2, count, first > 0, row == 0, sums);
        if (is_last) finish(sums, top + row, std::min(ROWS, rows - row), block * COLUMNS);
      }
    }
  }

  void finish(const float* sums, int64_t pixel, int64_t rows, int64_t channel) {
    const int64_t start = pixel * shape_.out_channels + channel;
    const float* bias = bias_ == nullptr ? nullptr : bias_ + channel;
    with_activation(shape_.activation, [&](auto tag) {
      constexpr Activation activation = decltype(tag)::activation;
      if (added_ == nullptr) {
        finish_block<activation, false>(sums, rows, bias, nullptr, shape_.out_channels, out_ + start);
      } else {
        finish_block<activation, true>(sums, rows, bias, added_ + start, shape_.out_channels, out_ + start);
      }
    });
  }

  const Pointwise& shape_;
  const bfloat16* map_;
  const uint32_t* packed_;
  const float* bias_;
  const bfloat16* added_;
  bfloat16* out_;
  std::vector<bfloat16> panel_;
  // Where the panel starts, from one pixel to the next in it, from DEPTH channels to the next.
  const bfloat16* start_ = nullptr;
  int64_t row_ = 0, next_ = 0;
  std::vector<float> sums_;
};

}  // namespace

bool takes_pixels(int64_t channels, int64_t out_channels) {
  return channels % DEPTH == 0 && out_channels % COLUMNS == 0 && may_use_tiles();
}

int64_t count_packed(const Pointwise& shape) { return shape.channels * shape.out_channels / 2; }

void pack_weights(const Pointwise& shape, const float* weights, uint32_t* packed) {
  const int64_t channels = shape.channels;
  parallel_ranges(shape.out_channels / SIDE, [&](int, int64_t begin, int64_t end) {
    for (int64_t column = begin * SIDE; column < end * SIDE; column += SIDE) {
      uint32_t* block = packed + column / COLUMNS * COLUMNS * channels / 2 + column % COLUMNS / SIDE * TILE;
      for (int64_t channel = 0; channel < channels; channel += DEPTH, block += 2 * TILE) {
        Vector square[SIDE];
        for (int i = 0; i < SIDE; ++i) {
          const float* row = weights + (column + i) * channels + channel;
          const auto pairs = (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(row + SIDE), _mm512_loadu_ps(row));
          square[i] = Vector(_mm512_castsi512_ps(pairs));
        }
        transpose(square);
        for (int i = 0; i < SIDE; ++i) _mm512_storeu_ps(block + i * SIDE, __m512(square[i]));
      }
    }
  });
}

void multiply_pixels(const Pointwise& shape, const bfloat16* map, const uint32_t* packed, const float* bias,
                     const bfloat16* added, bfloat16* out) {
  const int64_t pixels = shape.batch * shape.out_height * shape.out_width, blocks = shape.out_channels / COLUMNS;
  // Threads share whichever of map and weights is larger, and each reads all of the other.
  const int64_t threads = num_threads();
  const int64_t by_channel = pixels > shape.out_channels ? 1 : std::min(threads, blocks);
  const int64_t by_pixel = std::min((threads + by_channel - 1) / by_channel, (pixels + ROWS - 1) / ROWS);
  const int64_t strips = (pixels + ROWS - 1) / ROWS;
  run_tasks(static_cast<int>(by_channel * by_pixel), [&](int task) {
    const int64_t column = task % by_channel, row = task / by_channel;
    const Tiles tiles;
    Part part(shape, map, packed, bias, added, out);
    part.run(strips * row / by_pixel * ROWS, std::min(pixels, strips * (row + 1) / by_pixel * ROWS),
             blocks * column / by_channel, blocks * (column + 1) / by_channel);
  });
}

#else

bool takes_pixels(int64_t, int64_t) { return false; }

int64_t count_packed(const Pointwise&) { return 0; }

void pack_weights(const Pointwise&, const float*, uint32_t*) {}

void multiply_pixels(const Pointwise&, const bfloat16*, const uint32_t*, const float*, const bfloat16*, bfloat16*) {
  throw std::runtime_error("this processor has no tiles of bfloat16");
}

#endif

}  // namespace halo
