// What the kernels of lambda layers share: sizes, and the content's linear map. A query q of a head has the output
//   sum over places r of its neighbourhood of (q . E[:, r]) * value[r] + q * (content + bias)
// where E are the position embeddings, r numbers the reach x reach places, and values outside the map are zeros: local
// attention without a softmax, which takes a fraction of the convolution of all values with E.
#pragma once

#include <algorithm>
#include <type_traits>
#include <vector>

#include "activation.hpp"
#include "kernel.hpp"
#include "threads.hpp"
#include "tile.hpp"

namespace halo {

struct LambdaSizes {
  int64_t batch, height, width, heads, dim_key, dim_value, reach;

  int64_t pixels() const { return height * width; }
  int64_t places() const { return reach * reach; }
  int64_t stride() const { return round_up(dim_value, LANES); }  // of rows of values in float32
};

// By the numbers of the arguments: q (B, H, W, N * K), k (B, H, W, K), v (B, H, W, V), position weights (K, 1, reach,
// reach), position bias (K,), out (B, H, W, N * V). Throws where they do not fit each other.
inline LambdaSizes read_lambda_sizes(const Arguments& args, int q, int out) {
  const int k = q + 1, v = q + 2, weight = q + 3, bias = q + 4;
  for (const int map : {q, k, v, weight}) args.expect_map(map);
  const int64_t batch = args.side(v, 0), height = args.side(v, 1), width = args.side(v, 2), dim_value = args.side(v, 3);
  const int64_t dim_key = args.side(weight, 0), reach = args.side(weight, 2), heads = args.side(q, 3) / dim_key;
  if (reach % 2 == 0) throw std::length_error("the neighbourhood has no middle");
  args.expect(weight, {dim_key, 1, reach, reach});
  args.expect(bias, {dim_key});
  args.expect(k, {batch, height, width, dim_key});
  if (heads < 1) throw std::length_error("queries have fewer channels than keys");
  args.expect(q, {batch, height, width, heads * dim_key});
  args.expect(out, {batch, height, width, heads * dim_value});
  for (const int map : {k, v, out}) {
    if (args.type(map) != args.type(q)) throw std::invalid_argument("maps are of two types");
  }
  return {batch, height, width, heads, dim_key, dim_value, reach};
}

// Values as rows of stride() float32: the map itself where it is that already.
template <typename Element>
class LambdaValues {
 public:
  LambdaValues(const LambdaSizes& s, const Element* v) {
    if constexpr (std::is_same_v<Element, float>) {
      if (s.stride() == s.dim_value) {
        rows_ = v;
        return;
      }
    }
    copy_.resize(s.batch * s.pixels() * s.stride());
    rows_ = copy_.data();
    parallel_ranges(s.batch * s.pixels(), [&](int, int64_t begin, int64_t end) {
      for (int64_t pixel = begin; pixel < end; ++pixel) {
#pragma GCC ivdep
        for (int64_t d = 0; d < s.dim_value; ++d) copy_[pixel * s.stride() + d] = v[pixel * s.dim_value + d];
      }
    });
  }

  const float* of_image(const LambdaSizes& s, int64_t image) const { return rows_ + image * s.pixels() * s.stride(); }

 private:
  std::vector<float> copy_;
  const float* rows_;
};

// Of an image: the softmax over its pixels of `count` <= LANES channels of keys, `first` and on, (pixels, LANES).
template <typename Element>
void soften_keys(const LambdaSizes& s, const Element* k, int64_t first, int64_t count, float* soft) {
  float most[LANES], sum[LANES] = {};
  std::fill(most, most + LANES, -__builtin_inff());
  for (int64_t pixel = 0; pixel < s.pixels(); ++pixel) {
    for (int64_t i = 0; i < LANES; ++i) {
      const float logit = i < count ? float(k[pixel * s.dim_key + first + i]) : 0.f;
      soft[pixel * LANES + i] = logit;
      most[i] = most[i] > logit ? most[i] : logit;
    }
  }
  for (int64_t pixel = 0; pixel < s.pixels(); ++pixel) {
    for (int64_t i = 0; i < LANES; ++i) {
      const float weight = fast_exp(soft[pixel * LANES + i] - most[i]);
      soft[pixel * LANES + i] = weight;
      sum[i] += weight;
    }
  }
  for (int64_t i = 0; i < LANES; ++i) sum[i] = 1.f / sum[i];
  for (int64_t pixel = 0; pixel < s.pixels(); ++pixel) {
    for (int64_t i = 0; i < LANES; ++i) soft[pixel * LANES + i] *= sum[i];
  }
}

// Of all images, (B, K, stride()): the values under those softmaxes, and the positions' bias.
template <typename Element>
std::vector<float> mix_content(const LambdaSizes& s, const Element* k, const LambdaValues<Element>& values,
                               const float* bias) {
  std::vector<float> content(s.batch * s.dim_key * s.stride(), 0.f);
  const int64_t chunks = (s.dim_key + LANES - 1) / LANES;
  parallel_ranges(s.batch * chunks, [&](int, int64_t begin, int64_t end) {
    std::vector<float> soft(s.pixels() * LANES), mixed(s.dim_value * LANES);
    std::vector<const float*> row(s.pixels());
    for (int64_t number = begin; number < end; ++number) {
      const int64_t image = number / chunks, first = number % chunks * LANES;
      const int64_t count = std::min<int64_t>(LANES, s.dim_key - first);
      soften_keys(s, k + image * s.pixels() * s.dim_key, first, count, soft.data());
      for (int64_t pixel = 0; pixel < s.pixels(); ++pixel) row[pixel] = values.of_image(s, image) + pixel * s.stride();
      mix_rows<LANES>(soft.data(), row.data(), s.pixels(), 0, s.dim_value, mixed.data());
      for (int64_t i = 0; i < count; ++i) {
        float* target = content.data() + (image * s.dim_key + first + i) * s.stride();
        for (int64_t d = 0; d < s.dim_value; ++d) target[d] = mixed[d * LANES + i] + bias[first + i];
      }
    }
  });
  return content;
}

constexpr int WIDE = 4 * LANES;  // places whose weights are computed at once

// weights[n][place] = q[n] . embeddings[:, place] for some heads of a pixel.
template <int HEADS>
void weigh_places(const float* q, int64_t dim_key, const float* embeddings, int64_t padded, float* weights) {
  constexpr int VECTORS = WIDE / LANES;
  for (int64_t place = 0; place < padded; place += WIDE) {
    Vector sum[HEADS][VECTORS] = {};
    for (int64_t k = 0; k < dim_key; ++k) {
      Vector embedding[VECTORS];
      for (int i = 0; i < VECTORS; ++i) embedding[i] = vector_at(embeddings + k * padded + place + i * LANES);
#pragma GCC unroll 8
      for (int n = 0; n < HEADS; ++n) {
        const float query = q[n * dim_key + k];
        for (int i = 0; i < VECTORS; ++i) sum[n][i] += query * embedding[i];
      }
    }
    for (int n = 0; n < HEADS; ++n) {
      for (int i = 0; i < VECTORS; ++i) vector_at(weights + n * padded + place + i * LANES) = sum[n][i];
    }
  }
}

// Lambda layers of bfloat16 maps by products of tiles. Throws where the processor has no such products.
void apply_lambdas_bfloat16(const LambdaSizes& s, const bfloat16* q, const bfloat16* v, const float* embeddings,
                            const std::vector<float>& content, bfloat16* out);

}  // namespace halo
