// Batch norm with what follows it, activation(norm(x) + added), on channels-last maps of C channels.
#include <cmath>
#include <vector>

#include "batch_norm_rows.hpp"
#include "kernel.hpp"
#include "threads.hpp"

namespace halo {
namespace {

constexpr int64_t CHUNK = 128;  // rows that are summed in single precision before double takes over

// Per channel two sums over all rows, in double precision: `body` adds what one row contributes to `first`, `second`.
template <typename Body>
void sum_rows(int64_t rows, int64_t channels, std::vector<double>& sums, const Body& body) {
  const int64_t chunks = (rows + CHUNK - 1) / CHUNK;
  std::vector<std::vector<double>> parts(num_threads(), std::vector<double>(2 * channels, 0.0));
  parallel_ranges(chunks, [&](int thread, int64_t begin, int64_t end) {
    std::vector<float> chunk(2 * channels);
    std::vector<double>& part = parts[thread];
    for (int64_t c = begin; c < end; ++c) {
      std::fill(chunk.begin(), chunk.end(), 0.f);
      for (int64_t row = c * CHUNK; row < std::min(rows, (c + 1) * CHUNK); ++row) {
        body(row, chunk.data(), chunk.data() + channels);
      }
      for (int64_t i = 0; i < 2 * channels; ++i) part[i] += chunk[i];
    }
  });
  sums.assign(2 * channels, 0.0);
  for (const auto& part : parts) {
    for (int64_t i = 0; i < 2 * channels; ++i) sums[i] += part[i];
  }
}

struct AffineNumbers {
  std::vector<float> scale, shift;

  AffineNumbers(int64_t channels, const float* gamma, const float* beta, const float* mean, const float* inverse)
      : scale(channels), shift(channels) {
    for (int64_t c = 0; c < channels; ++c) {
      scale[c] = gamma[c] * inverse[c];
      shift[c] = beta[c] - mean[c] * scale[c];
    }
  }

  Affine pointers() const { return {scale.data(), shift.data()}; }
};

template <Activation activation, bool adds, typename Element>
void apply(int64_t rows, int64_t channels, const Element* map, const Element* added, const Affine& affine,
           Element* out) {
  parallel_ranges(rows, [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t start = row * channels;
      normalise_row<activation, adds>(channels, affine, map + start, adds ? added + start : nullptr, out + start);
    }
  });
}

// The same for the arguments that both forward kernels have.
template <typename Element>
void apply_any(const Arguments& args, const Affine& affine) {
  const int64_t channels = args.side(0, 3);
  const int64_t rows = args.size(0) / channels;
  const int64_t* settings = args.settings(6);
  const Element* map = args.elements<Element>(0);
  Element* out = args.elements<Element>(8);
  with_activation(settings[0], [&](auto tag) {
    constexpr Activation activation = decltype(tag)::activation;
    if (settings[1]) {
      apply<activation, true, Element>(rows, channels, map, args.elements<Element>(1), affine, out);
    } else {
      apply<activation, false, Element>(rows, channels, map, nullptr, affine, out);
    }
  });
}

template <typename Element>
struct Gradients {
  const Element *diff_out, *map, *added;
  const float *gamma, *beta, *mean, *inverse;
  Element* diff_map;
  float *diff_gamma, *diff_beta;
  Element* diff_added;
};

template <Activation activation, bool adds, typename Element>
void differentiate(int64_t rows, int64_t channels, bool batch_statistics, const Gradients<Element>& g) {
  const AffineNumbers numbers(channels, g.gamma, g.beta, g.mean, g.inverse);
  const Affine affine = numbers.pointers();
  // With `adds` the first pass writes the gradient by norm(x) + added, which the second reads again.
  std::vector<double> sums;
  sum_rows(rows, channels, sums, [&](int64_t row, float* first, float* second) {
    const int64_t start = row * channels;
    sum_row<activation, adds>(channels, affine, g.mean, g.diff_out + start, g.map + start,
                              adds ? g.added + start : nullptr, adds ? g.diff_added + start : nullptr, first, second);
  });
  std::vector<float> mean_diff(channels, 0.f), mean_slope(channels, 0.f);
  for (int64_t c = 0; c < channels; ++c) {
    g.diff_beta[c] = static_cast<float>(sums[c]);
    g.diff_gamma[c] = static_cast<float>(sums[channels + c] * g.inverse[c]);
    if (!batch_statistics) continue;
    mean_diff[c] = static_cast<float>(sums[c] / rows);
    mean_slope[c] = static_cast<float>(sums[channels + c] * g.inverse[c] * g.inverse[c] / rows);
  }
  parallel_ranges(rows, [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const int64_t start = row * channels;
      differentiate_row<activation, adds>(channels, affine, g.mean, mean_diff.data(), mean_slope.data(),
                                          (adds ? g.diff_added : g.diff_out) + start, g.map + start, g.diff_map + start);
    }
  });
}

template <typename Element>
void normalise_by_batch(const Arguments& args) {
  const int64_t channels = args.side(0, 3);
  const int64_t rows = args.size(0) / channels;
  const Element* map = args.elements<Element>(0);
  const float eps = args.floats(7)[0], momentum = args.floats(7)[1];
  float *mean = args.floats(9), *inverse = args.floats(10);
  std::vector<float> first_row(map, map + channels);
  const float* origin = first_row.data();
  std::vector<double> sums;
  sum_rows(rows, channels, sums, [&](int64_t row, float* first, float* second) {
    const Element* x = map + row * channels;
#pragma GCC ivdep
    for (int64_t c = 0; c < channels; ++c) {
      const float d = x[c] - origin[c];  // so that squares of a far mean do not drown the variance
      first[c] += d;
      second[c] += d * d;
    }
  });
  for (int64_t c = 0; c < channels; ++c) {
    const double offset = sums[c] / rows;
    const double variance = std::max(sums[channels + c] / rows - offset * offset, 0.0);
    const double unbiased = rows > 1 ? variance * rows / (rows - 1) : variance;
    mean[c] = static_cast<float>(origin[c] + offset);
    inverse[c] = static_cast<float>(1.0 / std::sqrt(variance + eps));
    args.floats(11)[c] = static_cast<float>(momentum * args.floats(4)[c] + (1 - momentum) * (origin[c] + offset));
    args.floats(12)[c] = static_cast<float>(momentum * args.floats(5)[c] + (1 - momentum) * unbiased);
  }
  const AffineNumbers numbers(channels, args.floats(2), args.floats(3), mean, inverse);
  apply_any<Element>(args, numbers.pointers());
}

// Of batch_norm_training and batch_norm_inference.
void check_forward(const Arguments& args) {
  args.expect_count(13);
  args.expect_map(0);
  args.expect_size(6, 3);
  args.expect_size(7, 2);
  if (args.settings(6)[1]) args.expect_same(1, 0);
  args.expect_same(8, 0);
  for (const int index : {2, 3, 4, 5, 9, 10, 11, 12}) {
    args.expect(index, {args.side(0, 3)});
    args.floats(index);
  }
}

}  // namespace
}  // namespace halo

using namespace halo;

// map (B, H, W, C), added or one number, gamma, beta, running mean, running variance (C,),
// settings (activation, whether there is a map to add, whether it trains), numbers (eps, momentum)
// -> out, batch mean, 1 / standard deviation, new running mean, new running variance
HALO_KERNEL(batch_norm_training) {
  check_forward(args);
  with_element(args.type(0), [&](auto tag) { normalise_by_batch<typename decltype(tag)::type>(args); });
}

// The same with the running statistics: map, added, gamma, beta, running mean, running variance, settings, numbers
// -> out, running mean, 1 / standard deviation
HALO_KERNEL(batch_norm_inference) {
  check_forward(args);
  const int64_t channels = args.side(0, 3);
  const float eps = args.floats(7)[0];
  float *mean = args.floats(9), *inverse = args.floats(10);
  for (int64_t c = 0; c < channels; ++c) {
    mean[c] = args.floats(4)[c];
    inverse[c] = 1.f / std::sqrt(args.floats(5)[c] + eps);
  }
  const AffineNumbers numbers(channels, args.floats(2), args.floats(3), mean, inverse);
  with_element(args.type(0), [&](auto tag) { apply_any<typename decltype(tag)::type>(args, numbers.pointers()); });
}

// out's gradient, map, added, gamma, beta, mean, 1 / standard deviation,
// settings (activation, whether a map was added, whether the statistics are the batch's)
// -> gradients of map, gamma, beta, added (one number where there was none)
HALO_KERNEL(batch_norm_backward) {
  args.expect_count(12);
  args.expect_map(1);
  args.expect_size(7, 3);
  const int64_t channels = args.side(1, 3);
  args.expect_same(0, 1);
  if (args.settings(7)[1]) args.expect_same(2, 1);
  for (int index = 3; index < 7; ++index) args.expect(index, {channels});
  args.expect_same(8, 1);
  for (int index = 9; index < 11; ++index) args.expect(index, {channels});
  args.expect_same(11, 2);
  const int64_t rows = args.size(1) / channels;
  const int64_t* settings = args.settings(7);
  with_element(args.type(1), [&](auto element) {
    using Element = typename decltype(element)::type;
    Gradients<Element> gradients = {args.elements<Element>(0), args.elements<Element>(1), nullptr,
                                    args.floats(3),            args.floats(4),            args.floats(5),
                                    args.floats(6),            args.elements<Element>(8), args.floats(9),
                                    args.floats(10),           nullptr};
    if (settings[1]) gradients.added = args.elements<Element>(2), gradients.diff_added = args.elements<Element>(11);
    with_activation(settings[0], [&](auto tag) {
      constexpr Activation activation = decltype(tag)::activation;
      if (settings[1]) {
        differentiate<activation, true>(rows, channels, settings[2] != 0, gradients);
      } else {
        differentiate<activation, false>(rows, channels, settings[2] != 0, gradients);
        args.floats(11)[0] = 0.f;
      }
    });
  });
}
