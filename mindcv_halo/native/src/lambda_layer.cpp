// Lambda layers on channels-last maps of float32: a task is a row of pixels, values lie along the vectors' lanes.
#include "lambda_layer.hpp"

#include <algorithm>

namespace halo {
namespace {

// Position embeddings in rows of whole vectors, (K, padded).
std::vector<float> pad_embeddings(const LambdaSizes& s, const float* embeddings) {
  const int64_t padded = round_up(s.places(), WIDE);
  std::vector<float> rows(s.dim_key * padded, 0.f);
  for (int64_t k = 0; k < s.dim_key; ++k) {
    std::copy(embeddings + k * s.places(), embeddings + (k + 1) * s.places(), rows.data() + k * padded);
  }
  return rows;
}

// Numbers of VECTORS vectors of the output of some heads of the pixel (y, x): out[n], rows of `stride` numbers.
template <int HEADS, int VECTORS>
void mix_neighbours(const LambdaSizes& s, int64_t y, int64_t x, const float* q, const float* weights, int64_t padded,
                    const float* values, const float* content, float* out) {
  const int64_t half = s.reach / 2, stride = s.stride();
  Vector sum[HEADS][VECTORS] = {};
  const auto add = [&](const float* factors, int64_t step, const float* row) {
    Vector value[VECTORS];
    for (int i = 0; i < VECTORS; ++i) value[i] = vector_at(row + i * LANES);
#pragma GCC unroll 8
    for (int n = 0; n < HEADS; ++n) {
      for (int i = 0; i < VECTORS; ++i) sum[n][i] += factors[n * step] * value[i];
    }
  };
  for (int64_t k = 0; k < s.dim_key; ++k) add(q + k, s.dim_key, content + k * stride);
  const int64_t left = std::max<int64_t>(0, x - half), right = std::min(s.width, x + half + 1);
  for (int64_t row = std::max<int64_t>(0, y - half); row < std::min(s.height, y + half + 1); ++row) {
    const int64_t first = (row - y + half) * s.reach - x + half;
    const float* value = values + row * s.width * stride;
    for (int64_t column = left; column < right; ++column) add(weights + first + column, padded, value + column * stride);
  }
  for (int n = 0; n < HEADS; ++n) {
    for (int i = 0; i < VECTORS; ++i) vector_at(out + n * stride + i * LANES) = sum[n][i];
  }
}

class PixelRow {
 public:
  PixelRow(const LambdaSizes& s, const float* q, const LambdaValues<float>& values, const float* embeddings,
           const float* content, float* out)
      : s_(s),
        q_(q),
        values_(values),
        embeddings_(embeddings),
        content_(content),
        out_(out),
        padded_(round_up(s.places(), WIDE)),
        weights_(HEADS * padded_),
        mixed_(HEADS * s.stride()) {}

  void run(int64_t number) {
    for (int64_t x = 0; x < s_.width; ++x) {
      int64_t head = 0;
      for (; head + HEADS <= s_.heads; head += HEADS) mix_heads<HEADS>(number, x, head);
      for (; head < s_.heads; ++head) mix_heads<1>(number, x, head);
    }
  }

 private:
  static constexpr int HEADS = 4;  // at once, so that a row of values is read once for all of them

  template <int COUNT>
  void mix_heads(int64_t number, int64_t x, int64_t head) {
    const int64_t image = number / s_.height, y = number % s_.height, pixel = number * s_.width + x;
    const float* q = q_ + (pixel * s_.heads + head) * s_.dim_key;
    const float *values = values_.of_image(s_, image), *content = content_ + image * s_.dim_key * s_.stride();
    weigh_places<COUNT>(q, s_.dim_key, embeddings_, padded_, weights_.data());
    int64_t d = 0;
    for (; d + 2 * LANES <= s_.stride(); d += 2 * LANES) {
      mix_neighbours<COUNT, 2>(s_, y, x, q, weights_.data(), padded_, values + d, content + d, mixed_.data() + d);
    }
    for (; d < s_.stride(); d += LANES) {
      mix_neighbours<COUNT, 1>(s_, y, x, q, weights_.data(), padded_, values + d, content + d, mixed_.data() + d);
    }
    for (int n = 0; n < COUNT; ++n) {
      const float* mixed = mixed_.data() + n * s_.stride();
      std::copy(mixed, mixed + s_.dim_value, out_ + (pixel * s_.heads + head + n) * s_.dim_value);
    }
  }

  const LambdaSizes& s_;
  const float* q_;
  const LambdaValues<float>& values_;
  const float *embeddings_, *content_;
  float* out_;
  const int64_t padded_;
  std::vector<float> weights_, mixed_;
};

template <typename Element>
void run(const Arguments& args, const LambdaSizes& s) {
  const Element *q = args.elements<Element>(0), *k = args.elements<Element>(1), *v = args.elements<Element>(2);
  const LambdaValues<Element> values(s, v);
  const std::vector<float> content = mix_content(s, k, values, args.floats(4));
  auto* out = args.elements<Element>(5);
  if constexpr (std::is_same_v<Element, bfloat16>) {
    apply_lambdas_bfloat16(s, q, v, args.floats(3), content, out);
  } else {
    const std::vector<float> embeddings = pad_embeddings(s, args.floats(3));
    parallel_ranges(s.batch * s.height, [&](int, int64_t begin, int64_t end) {
      PixelRow row(s, q, values, embeddings.data(), content.data(), out);
      for (int64_t number = begin; number < end; ++number) row.run(number);
    });
  }
}

}  // namespace
}  // namespace halo

using namespace halo;

// q (B, H, W, N * K), k (B, H, W, K), v (B, H, W, V), position weights (K, 1, reach, reach), position bias (K,)
// -> out (B, H, W, N * V)
HALO_KERNEL(lambda_layer) {
  args.expect_count(6);
  const LambdaSizes s = read_lambda_sizes(args, 0, 5);
  args.floats(3);
  with_element(args.type(0), [&](auto tag) { run<typename decltype(tag)::type>(args, s); });
}
