// The gradients of lambda layers, image by image: weights of places are computed again. Places lie in rows of whole
// vectors, so that a row of a neighbourhood is read at once where values are turned to lie along their pixels.
#include <memory>

#include "lambda_layer.hpp"
#include "widened.hpp"

namespace halo {
namespace {

struct LambdaGradients {
  const float *diff_out, *q, *k, *v, *embeddings, *bias;
  float *diff_q, *diff_k, *diff_v;
};

// What all threads read.
struct LambdaTables {
  int64_t across, padded;                           // places in a row of a neighbourhood, and in all of it
  std::vector<float> embeddings, turned_embeddings;  // (K, padded), and (chunks of K, padded, LANES)

  LambdaTables(const LambdaSizes& s, const float* source)
      : across(round_up(s.reach, LANES)),
        padded(round_up(s.reach * across, WIDE)),
        embeddings(s.dim_key * padded, 0.f),
        turned_embeddings(round_up(s.dim_key, LANES) * padded, 0.f) {
    for (int64_t k = 0; k < s.dim_key; ++k) {
      for (int64_t place = 0; place < s.places(); ++place) {
        const int64_t at = place / s.reach * across + place % s.reach;
        embeddings[k * padded + at] = source[k * s.places() + place];
        turned_embeddings[(k / LANES * padded + at) * LANES + k % LANES] = source[k * s.places() + place];
      }
    }
  }
};

class LambdaSlopes {
 public:
  LambdaSlopes(const LambdaSizes& s, const LambdaGradients& data, const LambdaTables& tables,
               const LambdaValues<float>& values, const std::vector<float>& content)
      : s_(s),
        data_(data),
        tables_(tables),
        values_(values),
        content_(content),
        rows_(round_up(s.width * s.heads, std::max(LANES, UNROLL))),
        keys_(round_up(s.dim_key, UNROLL)),
        line_(s.width - 1 + tables.across),
        turned_values_(s.dim_value * s.height * line_, 0.f),
        weights_(HEADS * tables.padded),
        slopes_(rows_ * tables.padded, 0.f),
        diff_rows_(rows_ * s.stride(), 0.f),
        queries_(keys_ * LANES),
        turned_content_(s.dim_value * LANES),
        by_place_(rows_ * LANES),
        by_content_(rows_ * LANES),
        diff_values_(s.pixels() * s.stride()),
        diff_content_(keys_ * s.stride()),
        soft_(s.pixels() * LANES),
        soft_slopes_(s.pixels() * LANES),
        diff_embeddings_(keys_ * tables.padded, 0.f),
        diff_bias_(s.dim_key, 0.f) {}

  void run(int64_t image) {
    image_ = image;
    std::fill(diff_values_.begin(), diff_values_.end(), 0.f);
    std::fill(diff_content_.begin(), diff_content_.end(), 0.f);
    turn_values();
    for (int64_t y = 0; y < s_.height; ++y) differentiate_row(y);
    differentiate_content();
    for (int64_t pixel = 0; pixel < s_.pixels(); ++pixel) {
      const float* row = diff_values_.data() + pixel * s_.stride();
      std::copy(row, row + s_.dim_value, data_.diff_v + (image * s_.pixels() + pixel) * s_.dim_value);
    }
  }

  // Adds what its images gave.
  void add_parameters(float* diff_embeddings, float* diff_bias) const {
    for (int64_t k = 0; k < s_.dim_key; ++k) {
      for (int64_t place = 0; place < s_.places(); ++place) {
        const int64_t at = place / s_.reach * tables_.across + place % s_.reach;
        diff_embeddings[k * s_.places() + place] += diff_embeddings_[k * tables_.padded + at];
      }
      diff_bias[k] += diff_bias_[k];
    }
  }

 private:
  static constexpr int HEADS = 4;  // at once, and ROWS of a neighbourhood
  static constexpr int ROWS = 3;

  const float* values() const { return values_.of_image(s_, image_); }

  // (V, H, line_): each row from the first pixel's left neighbour on.
  void turn_values() {
    for (int64_t pixel = 0; pixel < s_.pixels(); ++pixel) {
      const int64_t y = pixel / s_.width, x = pixel % s_.width + s_.reach / 2;
      for (int64_t d = 0; d < s_.dim_value; ++d) {
        turned_values_[(d * s_.height + y) * line_ + x] = values()[pixel * s_.stride() + d];
      }
    }
  }

  void differentiate_row(int64_t y) {
    const int64_t first = (image_ * s_.height + y) * s_.width * s_.heads;  // row of the maps' heads
    for (int64_t row = 0; row < s_.width * s_.heads; ++row) {
      const float* source = data_.diff_out + (first + row) * s_.dim_value;
      std::copy(source, source + s_.dim_value, diff_rows_.data() + row * s_.stride());
    }
    for (int64_t x = 0; x < s_.width; ++x) {
      int64_t head = 0;
      for (; head + HEADS <= s_.heads; head += HEADS) differentiate_heads<HEADS>(first, y, x, head);
      for (; head < s_.heads; ++head) differentiate_heads<1>(first, y, x, head);
    }
    differentiate_queries(first);
    for (int64_t row = 0; row < s_.width * s_.heads; row += LANES) {
      std::fill(queries_.begin(), queries_.end(), 0.f);
      for (int64_t i = 0; i < std::min<int64_t>(LANES, s_.width * s_.heads - row); ++i) {
        for (int64_t k = 0; k < s_.dim_key; ++k) queries_[k * LANES + i] = data_.q[(first + row + i) * s_.dim_key + k];
      }
      collect_queries<LANES>(queries_.data(), keys_, slopes_.data() + row * tables_.padded, tables_.padded,
                             diff_embeddings_.data());
      collect_queries<LANES>(queries_.data(), keys_, diff_rows_.data() + row * s_.stride(), s_.stride(),
                             diff_content_.data());
    }
  }

  // Slopes by the weights of places, and what the values in these get, of some heads of a pixel.
  template <int COUNT>
  void differentiate_heads(int64_t first, int64_t y, int64_t x, int64_t head) {
    const int64_t row = x * s_.heads + head, half = s_.reach / 2;
    weigh_places<COUNT>(data_.q + (first + row) * s_.dim_key, s_.dim_key, tables_.embeddings.data(), tables_.padded,
                        weights_.data());
    const float* diff = diff_rows_.data() + row * s_.stride();
    float* slopes = slopes_.data() + row * tables_.padded;
    for (int n = 0; n < COUNT; ++n) std::fill(slopes + n * tables_.padded, slopes + (n + 1) * tables_.padded, 0.f);
    const int64_t begin = std::max<int64_t>(0, half - y), end = std::min(s_.reach, s_.height - y + half);
    for (int64_t across = 0; across < tables_.across; across += LANES) {
      const float* near = turned_values_.data() + (y - half + begin) * line_ + x + across;
      int64_t place_row = begin;
      for (; place_row + ROWS <= end; place_row += ROWS, near += ROWS * line_) {
        slope_places<COUNT, ROWS>(near, diff, slopes + place_row * tables_.across + across);
      }
      for (; place_row < end; ++place_row, near += line_) {
        slope_places<COUNT, 1>(near, diff, slopes + place_row * tables_.across + across);
      }
    }
    int64_t d = 0;
    for (; d + 2 * LANES <= s_.stride(); d += 2 * LANES) spread_slopes<COUNT, 2>(y, x, diff + d, d);
    for (; d < s_.stride(); d += LANES) spread_slopes<COUNT, 1>(y, x, diff + d, d);
  }

  // slopes[n][place] = diff[n] . the values at LANES places of COUNT_ROWS rows.
  template <int COUNT, int COUNT_ROWS>
  void slope_places(const float* near, const float* diff, float* slopes) const {
    Vector sum[COUNT][COUNT_ROWS] = {};
    for (int64_t d = 0; d < s_.dim_value; ++d) {
      Vector value[COUNT_ROWS];
      for (int i = 0; i < COUNT_ROWS; ++i) value[i] = vector_at(near + (d * s_.height + i) * line_);
#pragma GCC unroll 8
      for (int n = 0; n < COUNT; ++n) {
        const float slope = diff[n * s_.stride() + d];
        for (int i = 0; i < COUNT_ROWS; ++i) sum[n][i] += slope * value[i];
      }
    }
    for (int n = 0; n < COUNT; ++n) {
      for (int i = 0; i < COUNT_ROWS; ++i) vector_at(slopes + n * tables_.padded + i * tables_.across) = sum[n][i];
    }
  }

  // Adds weights * diff to VECTORS vectors of the gradients of the values around a pixel.
  template <int COUNT, int VECTORS>
  void spread_slopes(int64_t y, int64_t x, const float* diff, int64_t d) {
    const int64_t half = s_.reach / 2, stride = s_.stride();
    Vector slope[COUNT][VECTORS];
    for (int n = 0; n < COUNT; ++n) {
      for (int i = 0; i < VECTORS; ++i) slope[n][i] = vector_at(diff + n * stride + i * LANES);
    }
    const int64_t left = std::max<int64_t>(0, x - half), right = std::min(s_.width, x + half + 1);
    for (int64_t row = std::max<int64_t>(0, y - half); row < std::min(s_.height, y + half + 1); ++row) {
      for (int64_t column = left; column < right; ++column) {
        const float* weight = weights_.data() + (row - y + half) * tables_.across + column - x + half;
        float* target = diff_values_.data() + (row * s_.width + column) * stride + d;
        for (int i = 0; i < VECTORS; ++i) {
          Vector sum = vector_at(target + i * LANES);
          for (int n = 0; n < COUNT; ++n) sum += weight[n * tables_.padded] * slope[n][i];
          vector_at(target + i * LANES) = sum;
        }
      }
    }
  }

  void differentiate_queries(int64_t first) {
    std::vector<const float*> slope(rows_), diff(rows_);
    for (int64_t row = 0; row < rows_; ++row) {
      slope[row] = slopes_.data() + row * tables_.padded;
      diff[row] = diff_rows_.data() + row * s_.stride();
    }
    const float* content = content_.data() + image_ * s_.dim_key * s_.stride();
    for (int64_t start = 0; start < s_.dim_key; start += LANES) {
      const int64_t count = std::min<int64_t>(LANES, s_.dim_key - start);
      for (int64_t d = 0; d < s_.dim_value; ++d) {
        for (int64_t i = 0; i < LANES; ++i) {
          turned_content_[d * LANES + i] = i < count ? content[(start + i) * s_.stride() + d] : 0.f;
        }
      }
      const float* embeddings = tables_.turned_embeddings.data() + start * tables_.padded;
      multiply_rows<LANES>(slope.data(), rows_, 0, tables_.padded, embeddings, by_place_.data());
      multiply_rows<LANES>(diff.data(), rows_, 0, s_.dim_value, turned_content_.data(), by_content_.data());
      for (int64_t row = 0; row < s_.width * s_.heads; ++row) {
        float* target = data_.diff_q + (first + row) * s_.dim_key + start;
        for (int64_t i = 0; i < count; ++i) target[i] = by_place_[row * LANES + i] + by_content_[row * LANES + i];
      }
    }
  }

  // What keys, values and the positions' bias get of the content's slopes.
  void differentiate_content() {
    for (int64_t start = 0; start < s_.dim_key; start += LANES) {
      const int64_t count = std::min<int64_t>(LANES, s_.dim_key - start);
      const float* slopes = diff_content_.data() + start * s_.stride();
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t d = 0; d < s_.dim_value; ++d) diff_bias_[start + i] += slopes[i * s_.stride() + d];
      }
      for (int64_t d = 0; d < s_.dim_value; ++d) {
        for (int64_t i = 0; i < LANES; ++i) turned_content_[d * LANES + i] = i < count ? slopes[i * s_.stride() + d] : 0.f;
      }
      soften_keys(s_, data_.k + image_ * s_.pixels() * s_.dim_key, start, count, soft_.data());
      Vector mean = {};
      for (int64_t pixel = 0; pixel < s_.pixels(); ++pixel) {
        const float* value = values() + pixel * s_.stride();
        const Vector soft = vector_at(soft_.data() + pixel * LANES);
        Vector slope = {};
        for (int64_t d = 0; d < s_.dim_value; ++d) slope += value[d] * vector_at(turned_content_.data() + d * LANES);
        vector_at(soft_slopes_.data() + pixel * LANES) = slope;
        mean += soft * slope;
        float* target = diff_values_.data() + pixel * s_.stride();
        for (int64_t i = 0; i < count; ++i) {
          const float weight = soft_[pixel * LANES + i];
          for (int64_t d = 0; d < s_.dim_value; ++d) target[d] += weight * slopes[i * s_.stride() + d];
        }
      }
      for (int64_t pixel = 0; pixel < s_.pixels(); ++pixel) {
        float* target = data_.diff_k + (image_ * s_.pixels() + pixel) * s_.dim_key + start;
        for (int64_t i = 0; i < count; ++i) {
          target[i] = soft_[pixel * LANES + i] * (soft_slopes_[pixel * LANES + i] - mean[i]);
        }
      }
    }
  }

  const LambdaSizes& s_;
  const LambdaGradients& data_;
  const LambdaTables& tables_;
  const LambdaValues<float>& values_;
  const std::vector<float>& content_;
  // Queries of a row of pixels, rounded up; keys, likewise; numbers in a row of turned values.
  const int64_t rows_, keys_, line_;
  std::vector<float> turned_values_, weights_, slopes_, diff_rows_, queries_, turned_content_, by_place_, by_content_,
      diff_values_, diff_content_, soft_, soft_slopes_, diff_embeddings_, diff_bias_;
  int64_t image_ = 0;
};

void differentiate(const LambdaSizes& s, const LambdaGradients& data, float* diff_embeddings, float* diff_bias) {
  const LambdaTables tables(s, data.embeddings);
  const LambdaValues<float> values(s, data.v);
  const std::vector<float> content = mix_content(s, data.k, values, data.bias);
  std::vector<std::unique_ptr<LambdaSlopes>> parts(num_threads());
  parallel_ranges(s.batch, [&](int thread, int64_t begin, int64_t end) {
    parts[thread] = std::make_unique<LambdaSlopes>(s, data, tables, values, content);
    for (int64_t image = begin; image < end; ++image) parts[thread]->run(image);
  });
  std::fill(diff_embeddings, diff_embeddings + s.dim_key * s.places(), 0.f);
  std::fill(diff_bias, diff_bias + s.dim_key, 0.f);
  for (const auto& part : parts) {
    if (part != nullptr) part->add_parameters(diff_embeddings, diff_bias);
  }
}

}  // namespace
}  // namespace halo

using namespace halo;

// out's gradient, q, k, v, position weights, position bias -> gradients of q, k, v, position weights, position bias
HALO_KERNEL(lambda_layer_backward) {
  args.expect_count(11);
  const LambdaSizes s = read_lambda_sizes(args, 1, 0);
  for (int index = 0; index < 5; ++index) args.expect_same(6 + index, 1 + index);
  float *diff_embeddings = args.floats(9), *diff_bias = args.floats(10);
  if (args.type(1) == Type::BFLOAT16) {
    const Widened diff_out(args.elements<bfloat16>(0), args.size(0)), q(args.elements<bfloat16>(1), args.size(1));
    const Widened k(args.elements<bfloat16>(2), args.size(2)), v(args.elements<bfloat16>(3), args.size(3));
    const Widened embeddings(args.floats(4), args.size(4));
    const Widened diff_q(args.size(1)), diff_k(args.size(2)), diff_v(args.size(3));
    differentiate(s,
                  {diff_out.data(), q.data(), k.data(), v.data(), embeddings.data(), args.floats(5), diff_q.data(),
                   diff_k.data(), diff_v.data()},
                  diff_embeddings, diff_bias);
    diff_q.narrow(args.elements<bfloat16>(6));
    diff_k.narrow(args.elements<bfloat16>(7));
    return diff_v.narrow(args.elements<bfloat16>(8));
  }
  differentiate(s,
                {args.floats(0), args.floats(1), args.floats(2), args.floats(3), args.floats(4), args.floats(5),
                 args.floats(6), args.floats(7), args.floats(8)},
                diff_embeddings, diff_bias);
}
