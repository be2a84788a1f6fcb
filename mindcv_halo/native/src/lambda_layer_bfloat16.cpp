// A strip of 16 pixels in a row and one head at a time. The weights of its queries for a row of places are a product of
// tiles; stored with each query's a number further to the right than the one before, they are a band, and its product
// with the values from the first query's left neighbour on is the sum over all queries' places in that row.
#include <cstring>
#include <stdexcept>

#include "lambda_layer.hpp"
#include "tile_product.hpp"

namespace halo {

#if defined(HALO_BFLOAT16)
namespace {

constexpr int64_t DEPTH = 2 * SIDE;  // numbers that one product of tiles sums up

int64_t count_tiles(int64_t size, int64_t side) { return (size + side - 1) / side; }

// Pairs of neighbouring rows of `source`, a tile of (DEPTH, SIDE) numbers of it: at(row, column), zeros beyond.
template <typename Source>
void pack_tile(const Source& at, uint32_t* tile) {
  for (int64_t pair = 0; pair < SIDE; ++pair) {
    for (int64_t column = 0; column < SIDE; ++column) {
      const uint32_t low = bfloat16(at(2 * pair, column)).bits, high = bfloat16(at(2 * pair + 1, column)).bits;
      tile[pair * SIDE + column] = low | high << 16;
    }
  }
}

class Strip {
 public:
  Strip(const LambdaSizes& s)
      : s_(s),
        across_(count_tiles(s.reach, SIDE)),
        chunks_(count_tiles(SIDE - 1 + across_ * SIDE, DEPTH)),
        deep_(count_tiles(s.dim_key, DEPTH)),
        blocks_(count_tiles(s.dim_value, SIDE)),
        line_(chunks_ * DEPTH),
        positions_(round_up(s.width, SIDE) - SIDE + line_) {}

  // Position embeddings: [row of places][tile across][tile of depth].
  std::vector<uint32_t> pack_embeddings(const float* embeddings) const {
    std::vector<uint32_t> packed(s_.reach * across_ * deep_ * AREA);
    for (int64_t tile = 0; tile < s_.reach * across_ * deep_; ++tile) {
      const int64_t row = tile / (across_ * deep_), left = tile / deep_ % across_ * SIDE, first = tile % deep_ * DEPTH;
      const auto at = [&](int64_t k, int64_t column) {
        const bool inside = first + k < s_.dim_key && left + column < s_.reach;
        return inside ? embeddings[(first + k) * s_.places() + row * s_.reach + left + column] : 0.f;
      };
      pack_tile(at, packed.data() + tile * AREA);
    }
    return packed;
  }

  // What is multiplied with queries: [image][block of values][tile of depth].
  std::vector<uint32_t> pack_content(const std::vector<float>& content) const {
    std::vector<uint32_t> packed(s_.batch * blocks_ * deep_ * AREA);
    for (int64_t tile = 0; tile < s_.batch * blocks_ * deep_; ++tile) {
      const int64_t image = tile / (blocks_ * deep_), left = tile / deep_ % blocks_ * SIDE, first = tile % deep_ * DEPTH;
      const auto at = [&](int64_t k, int64_t d) {
        const bool inside = first + k < s_.dim_key && left + d < s_.stride();
        return inside ? content[(image * s_.dim_key + first + k) * s_.stride() + left + d] : 0.f;
      };
      pack_tile(at, packed.data() + tile * AREA);
    }
    return packed;
  }

  int64_t count_pairs() const { return blocks_ * positions_ / 2 * SIDE; }  // of a row of values

  // A row of values, from the first query's left neighbour on: [block][pair of positions][d].
  void pack_values(const bfloat16* row, uint32_t* packed) const {
    const int64_t half = s_.reach / 2;
    for (int64_t block = 0; block < blocks_; ++block) {
      const __mmask16 lanes = lanes_below(s_.dim_value - block * SIDE);
      const auto read = [&](int64_t x) {
        const bool inside = x >= 0 && x < s_.width;
        return inside ? _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(lanes, row + x * s_.dim_value + block * SIDE))
                      : _mm512_setzero_si512();
      };
      for (int64_t x = -half; x < positions_ - half; x += 2, packed += SIDE) {
        _mm512_storeu_si512(packed, _mm512_or_si512(read(x), _mm512_slli_epi32(read(x + 1), 16)));
      }
    }
  }

 protected:
  const LambdaSizes& s_;
  // Tiles that a row of places takes, that a band takes, that queries take, that values take; numbers in a row of a
  // band, and positions of a row of values.
  const int64_t across_, chunks_, deep_, blocks_, line_, positions_;
};

class StripMixer : Strip {
 public:
  StripMixer(const LambdaSizes& s, const uint32_t* embeddings, const uint32_t* content, const uint32_t* values)
      : Strip(s),
        embeddings_(embeddings),
        content_(content),
        values_(values),
        shifted_(s.reach * SIDE * line_, 0.f),
        factors_((s.reach + deep_) * SIDE * line_, bfloat16(0.f)),
        mixed_(2 * AREA) {}

  void run(int64_t number, const bfloat16* q, bfloat16* out) {
    image_ = number / s_.height;
    y_ = number % s_.height;
    for (int64_t x = 0; x < s_.width; x += SIDE) {
      for (int64_t head = 0; head < s_.heads; ++head) {
        const int64_t place = ((number * s_.width + x) * s_.heads + head);
        mix(x, std::min<int64_t>(SIDE, s_.width - x), q + place * s_.dim_key, out + place * s_.dim_value);
      }
    }
  }

 private:
  // Queries lie behind the bands, in rows as long as theirs.
  bfloat16* queries(int64_t chunk) { return factors_.data() + (s_.reach + chunk) * SIDE * line_; }

  void mix(int64_t x, int64_t count, const bfloat16* q, bfloat16* out) {
    for (int64_t chunk = 0; chunk < deep_; ++chunk) {
      const int64_t size = std::min<int64_t>(DEPTH, s_.dim_key - chunk * DEPTH) * sizeof(bfloat16);
      for (int64_t i = 0; i < count; ++i) {
        std::memcpy(queries(chunk) + i * line_, q + i * s_.heads * s_.dim_key + chunk * DEPTH, size);
      }
    }
    const int64_t half = s_.reach / 2;
    const int64_t first = std::max<int64_t>(0, half - y_), last = std::min(s_.reach, s_.height - y_ + half);
    make_bands(first, last);
    const int64_t bands = (last - first) * chunks_, row_size = blocks_ * positions_ / 2 * SIDE;
    const int64_t top = image_ * s_.height + y_ - half + first, start = x / 2;
    const auto left = [&](int64_t i) {
      const bfloat16* factors = i < bands ? factors_.data() + (first + i / chunks_) * SIDE * line_ + i % chunks_ * DEPTH
                                          : queries(i - bands);
      return reinterpret_cast<const uint32_t*>(factors);
    };
    for (int64_t block = 0; block < blocks_; block += 2) {
      const int64_t wide = std::min<int64_t>(2, blocks_ - block);
      const auto right = [&](int64_t i, int64_t other) {
        const int64_t b = block + other;
        const int64_t pair = b * positions_ / 2 + start + i % chunks_ * SIDE;
        return i < bands ? values_ + (top + i / chunks_) * row_size + pair * SIDE
                         : content_ + ((image_ * blocks_ + b) * deep_ + i - bands) * AREA;
      };
      tiles_.sum_beside(bands + deep_, line_ / 2, left, right, wide, mixed_.data());
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t other = 0; other < wide; ++other) {
          const int64_t d = (block + other) * SIDE;
          const __m512 sums = _mm512_loadu_ps(mixed_.data() + other * AREA + i * SIDE);
          store_bfloat16(out + i * s_.heads * s_.dim_value + d, sums, lanes_below(s_.dim_value - d));
        }
      }
    }
  }

  // The queries' weights for the rows of places from `first` to `last`.
  void make_bands(int64_t first, int64_t last) {
    const int64_t step = SIDE * line_;
    tiles_.multiply_into(
        (last - first) * across_, deep_, line_ / 2,
        [&](int64_t chunk) { return reinterpret_cast<const uint32_t*>(queries(chunk)); },
        [&](int64_t i, int64_t chunk) { return embeddings_ + ((first * across_ + i) * deep_ + chunk) * AREA; },
        [&](int64_t i) { return shifted_.data() + (first + i / across_) * step + i % across_ * SIDE; }, line_ + 1);
    for (int64_t row = first; row < last; ++row) {
      const float* source = shifted_.data() + row * step;
      bfloat16* target = factors_.data() + row * step;
      for (int64_t i = 0; i < step; i += DEPTH) {
        const auto both = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(source + i + SIDE), _mm512_loadu_ps(source + i));
        _mm512_storeu_si512(target + i, (__m512i)both);
      }
    }
  }

  const uint32_t *embeddings_, *content_, *values_;
  std::vector<float> shifted_;      // [row of places]: its queries' weights, each query's a number further on
  std::vector<bfloat16> factors_;   // the same, and then the queries themselves
  std::vector<float> mixed_;
  int64_t image_ = 0, y_ = 0;
  Tiles tiles_;
};

}  // namespace

void apply_lambdas_bfloat16(const LambdaSizes& s, const bfloat16* q, const bfloat16* v, const float* embeddings,
                            const std::vector<float>& content, bfloat16* out) {
  const Strip strip(s);
  const std::vector<uint32_t> packed = strip.pack_embeddings(embeddings), mapped = strip.pack_content(content);
  std::vector<uint32_t> values(s.batch * s.height * strip.count_pairs());
  parallel_ranges(s.batch * s.height, [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      strip.pack_values(v + row * s.width * s.dim_value, values.data() + row * strip.count_pairs());
    }
  });
  parallel_ranges(s.batch * s.height, [&](int, int64_t begin, int64_t end) {
    StripMixer mixer(s, packed.data(), mapped.data(), values.data());
    for (int64_t number = begin; number < end; ++number) mixer.run(number, q, out);
  });
}

#else

void apply_lambdas_bfloat16(const LambdaSizes&, const bfloat16*, const bfloat16*, const float*,
                            const std::vector<float>&, bfloat16*) {
  throw std::runtime_error("this processor has no instructions for bfloat16");
}

#endif

}  // namespace halo
