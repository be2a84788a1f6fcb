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
        factors_(HEADS * (s.reach + deep_) * SIDE * line_, bfloat16(0.f)) {}

  void run(int64_t number, const bfloat16* q, bfloat16* out) {
    image_ = number / s_.height;
    y_ = number % s_.height;
    for (int64_t x = 0; x < s_.width; x += SIDE) {
      for (int64_t head = 0; head < s_.heads; head += HEADS) {
        heads_ = std::min<int64_t>(HEADS, s_.heads - head);
        const int64_t place = (number * s_.width + x) * s_.heads + head;
        mix(x, std::min<int64_t>(SIDE, s_.width - x), q + place * s_.dim_key, out + place * s_.dim_value);
      }
    }
  }

 private:
  static constexpr int HEADS = 2;  // at once, as many as the processor's tiles allow

  // What a head multiplies values with: a band for each row of places, and then the queries, in rows as long.
  bfloat16* factors(int64_t head, int64_t number) {
    return factors_.data() + (head * (s_.reach + deep_) + number) * SIDE * line_;
  }
  const uint32_t* factor_pairs(int64_t head, int64_t number, int64_t chunk) {
    return reinterpret_cast<const uint32_t*>(factors(head, number) + chunk * DEPTH);
  }

  void mix(int64_t x, int64_t count, const bfloat16* q, bfloat16* out) {
    for (int64_t head = 0; head < heads_; ++head) {
      for (int64_t chunk = 0; chunk < deep_; ++chunk) {
        const int64_t size = std::min<int64_t>(DEPTH, s_.dim_key - chunk * DEPTH) * sizeof(bfloat16);
        for (int64_t i = 0; i < count; ++i) {
          const bfloat16* query = q + (i * s_.heads + head) * s_.dim_key;
          std::memcpy(factors(head, s_.reach + chunk) + i * line_, query + chunk * DEPTH, size);
        }
      }
    }
    const int64_t half = s_.reach / 2;
    const int64_t first = std::max<int64_t>(0, half - y_), last = std::min(s_.reach, s_.height - y_ + half);
    make_bands(first, last);
    const int64_t bands = (last - first) * chunks_, row_size = blocks_ * positions_ / 2 * SIDE;
    const int64_t top = image_ * s_.height + y_ - half + first, start = x / 2;
    const auto left = [&](int64_t i, int64_t head) {
      return i < bands ? factor_pairs(head, first + i / chunks_, i % chunks_)
                       : factor_pairs(head, s_.reach + i - bands, 0);
    };
    for (int64_t block = 0; block < blocks_; block += 2) {
      const int64_t wide = std::min<int64_t>(2, blocks_ - block);
      const auto right = [&](int64_t i, int64_t other) {
        const int64_t b = block + other, pair = b * positions_ / 2 + start + i % chunks_ * SIDE;
        return i < bands ? values_ + (top + i / chunks_) * row_size + pair * SIDE
                         : content_ + ((image_ * blocks_ + b) * deep_ + i - bands) * AREA;
      };
      tiles_.sum_square(bands + deep_, line_ / 2, heads_, wide, left, right, products_);
      for (int64_t head = 0; head < heads_; ++head) {
        for (int64_t other = 0; other < wide; ++other) {
          write(products_ + (2 * head + other) * AREA, count, (block + other) * SIDE, out + head * s_.dim_value);
        }
      }
    }
  }

  void write(const float* sums, int64_t count, int64_t d, bfloat16* out) const {
    const __mmask16 lanes = lanes_below(s_.dim_value - d);
    for (int64_t i = 0; i < count; ++i) {
      store_bfloat16(out + i * s_.heads * s_.dim_value + d, _mm512_loadu_ps(sums + i * SIDE), lanes);
    }
  }

  // The queries' weights for the rows of places from `first` to `last`.
  void make_bands(int64_t first, int64_t last) {
    const auto left = [&](int64_t chunk, int64_t head) { return factor_pairs(head, s_.reach + chunk, 0); };
    const int64_t begin = first * across_, end = last * across_;
    for (int64_t tile = begin; tile < end + 2; tile += 2) {  // a turn more: products take time until they can be read
      if (tile < end) {
        const auto right = [&](int64_t chunk, int64_t other) {
          return embeddings_ + ((tile + other) * deep_ + chunk) * AREA;
        };
        tiles_.sum_square(deep_, line_ / 2, heads_, std::min<int64_t>(2, end - tile), left, right, products_of(tile));
      }
      for (int64_t made = std::max(begin, tile - 2); made < std::min(tile, end); ++made) {
        for (int64_t head = 0; head < heads_; ++head) {
          shift(head, made, products_of(tile - 2) + (2 * head + made - tile + 2) * AREA);
        }
      }
    }
  }

  float* products_of(int64_t tile) { return products_ + tile / 2 % 2 * 4 * AREA; }

  // A tile of weights to its place in a band: each query's a number further on than the one before.
  void shift(int64_t head, int64_t tile, const float* products) {
    bfloat16* target = factors(head, tile / across_) + tile % across_ * SIDE;
    for (int i = 0; i < SIDE; ++i) store_bfloat16(target + i * (line_ + 1), _mm512_loadu_ps(products + i * SIDE));
  }

  const uint32_t *embeddings_, *content_, *values_;
  std::vector<bfloat16> factors_;
  alignas(64) float products_[8 * AREA];
  int64_t image_ = 0, y_ = 0, heads_ = 0;
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
