// What gates on channels need of a channels-last map: its mean over the pixels, and map * sigmoid(gate).
#include <vector>

#include "activation.hpp"
#include "kernel.hpp"
#include "threads.hpp"

namespace halo {
namespace {

// out[image, channel] = the sum over pixels of term(index of the number, channel).
template <typename Term>
void sum_pixels(int64_t batch, int64_t pixels, int64_t channels, float* out, const Term& term) {
  constexpr int64_t CHUNK = 128;
  const int64_t pieces = std::max<int64_t>(1, std::min<int64_t>(num_threads(), pixels / CHUNK));
  std::vector<std::vector<double>> sums(batch * pieces, std::vector<double>(channels, 0.0));
  run_tasks(static_cast<int>(batch * pieces), [&](int task) {
    const int64_t image = task / pieces, piece = task % pieces;
    std::vector<float> chunk(channels);
    for (int64_t start = pixels * piece / pieces; start < pixels * (piece + 1) / pieces; start += CHUNK) {
      std::fill(chunk.begin(), chunk.end(), 0.f);
      float* sum = chunk.data();
      for (int64_t pixel = start; pixel < std::min(start + CHUNK, pixels * (piece + 1) / pieces); ++pixel) {
        const int64_t first = (image * pixels + pixel) * channels;
#pragma GCC ivdep
        for (int64_t c = 0; c < channels; ++c) sum[c] += term(first + c, c);
      }
      for (int64_t c = 0; c < channels; ++c) sums[task][c] += chunk[c];
    }
  });
  for (int64_t image = 0; image < batch; ++image) {
    for (int64_t c = 0; c < channels; ++c) {
      double sum = 0;
      for (int64_t piece = 0; piece < pieces; ++piece) sum += sums[image * pieces + piece][c];
      out[image * channels + c] = static_cast<float>(sum);
    }
  }
}

// out[i] = factor of the image's channel * map[i], where `map` may be absent.
template <typename Element>
void scale_channels(int64_t batch, int64_t pixels, int64_t channels, const Element* map, const float* factors,
                    Element* out) {
  parallel_ranges(batch * pixels, [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const float* factor = factors + row / pixels * channels;
      const Element* x = map == nullptr ? nullptr : map + row * channels;
      Element* y = out + row * channels;
      if (x == nullptr) {
#pragma GCC ivdep
        for (int64_t c = 0; c < channels; ++c) y[c] = Element(factor[c]);
      } else {
#pragma GCC ivdep
        for (int64_t c = 0; c < channels; ++c) y[c] = Element(x[c] * factor[c]);
      }
    }
  });
}

std::vector<float> sigmoids(const float* gate, int64_t size) {
  std::vector<float> open(size);
  for (int64_t i = 0; i < size; ++i) open[i] = sigmoid(gate[i]);
  return open;
}

}  // namespace
}  // namespace halo

using namespace halo;

// map (B, H, W, C) -> mean over H and W (B, C)
HALO_KERNEL(mean_pixels) {
  args.expect_count(2);
  args.expect_map(0);
  args.expect_size(1, args.side(0, 0) * args.side(0, 3));
  const int64_t batch = args.side(0, 0), channels = args.side(0, 3), pixels = args.side(0, 1) * args.side(0, 2);
  std::vector<float> means(batch * channels);
  with_element(args.type(0), [&](auto tag) {
    const auto* map = args.elements<typename decltype(tag)::type>(0);
    sum_pixels(batch, pixels, channels, means.data(), [&](int64_t i, int64_t) { return float(map[i]); });
  });
  with_element(args.type(1), [&](auto tag) {
    using Element = typename decltype(tag)::type;
    Element* out = args.elements<Element>(1);
    for (int64_t i = 0; i < batch * channels; ++i) out[i] = Element(means[i] / static_cast<float>(pixels));
  });
}

// mean's gradient (B, C), map -> map's gradient
HALO_KERNEL(mean_pixels_backward) {
  args.expect_count(3);
  args.expect_map(1);
  args.expect(0, {args.side(1, 0), args.side(1, 3)});
  args.expect_same(2, 1);
  const int64_t batch = args.side(1, 0), channels = args.side(1, 3), pixels = args.side(1, 1) * args.side(1, 2);
  std::vector<float> share(args.floats(0), args.floats(0) + batch * channels);
  for (float& value : share) value /= static_cast<float>(pixels);
  with_element(args.type(2), [&](auto tag) {
    using Element = typename decltype(tag)::type;
    scale_channels<Element>(batch, pixels, channels, nullptr, share.data(), args.elements<Element>(2));
  });
}

// channels (B, C), weights (1, 1, 1, k) -> a convolution along the channels, with zeros beyond them (B, C)
HALO_KERNEL(neighbour_channels) {
  args.expect_count(3);
  args.expect(0, {args.side(0, 0), args.side(0, 1)});
  args.expect(1, {1, 1, 1, args.side(1, 3)});
  args.expect_same(2, 0);
  const int64_t batch = args.side(0, 0), channels = args.side(0, 1), length = args.side(1, 3);
  const float *in = args.floats(0), *weights = args.floats(1);
  float* out = args.floats(2);
  for (int64_t image = 0; image < batch; ++image) {
    for (int64_t c = 0; c < channels; ++c) {
      float sum = 0.f;
      for (int64_t i = std::max<int64_t>(0, length / 2 - c); i < std::min(length, channels + length / 2 - c); ++i) {
        sum += weights[i] * in[image * channels + c + i - length / 2];
      }
      out[image * channels + c] = sum;
    }
  }
}

// map (B, H, W, C), gate (B, C) -> map * sigmoid(gate)
HALO_KERNEL(channel_gate) {
  args.expect_count(3);
  args.expect_map(0);
  args.expect(1, {args.side(0, 0), args.side(0, 3)});
  args.expect_same(2, 0);
  const int64_t batch = args.side(0, 0), channels = args.side(0, 3), pixels = args.side(0, 1) * args.side(0, 2);
  const std::vector<float> open = sigmoids(args.floats(1), batch * channels);
  with_element(args.type(0), [&](auto tag) {
    using Element = typename decltype(tag)::type;
    scale_channels<Element>(batch, pixels, channels, args.elements<Element>(0), open.data(), args.elements<Element>(2));
  });
}

// out's gradient, map, gate -> gradients of map and gate
HALO_KERNEL(channel_gate_backward) {
  args.expect_count(5);
  args.expect_map(1);
  args.expect_same(0, 1);
  args.expect(2, {args.side(1, 0), args.side(1, 3)});
  args.expect_same(3, 1);
  args.expect_same(4, 2);
  const int64_t batch = args.side(1, 0), channels = args.side(1, 3), pixels = args.side(1, 1) * args.side(1, 2);
  const std::vector<float> open = sigmoids(args.floats(2), batch * channels);
  float* diff_gate = args.floats(4);
  with_element(args.type(1), [&](auto tag) {
    using Element = typename decltype(tag)::type;
    const Element *diff_out = args.elements<Element>(0), *map = args.elements<Element>(1);
    scale_channels<Element>(batch, pixels, channels, diff_out, open.data(), args.elements<Element>(3));
    sum_pixels(batch, pixels, channels, diff_gate, [&](int64_t i, int64_t) { return diff_out[i] * map[i]; });
  });
  for (int64_t i = 0; i < batch * channels; ++i) diff_gate[i] *= open[i] * (1.f - open[i]);
}
