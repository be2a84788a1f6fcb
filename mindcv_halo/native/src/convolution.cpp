// Convolutions on channels-last maps: (B, H, W, C) -> (B, H', W', O), computed by oneDNN, but for two kinds that a file
// of its own does better: pointwise_bfloat16.hpp and grouped_convolution.hpp. Weights stay (O, C / groups, k, k) as
// everywhere in MindSpore; they are reordered for each call, or once where they are frozen, and rounded where maps are
// bfloat16. Bias and gradients of weights are float32 with both.
#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <string>

#include "frozen_weights.hpp"
#include "grouped_convolution.hpp"
#include "kernel.hpp"
#include "onednn_convolution.hpp"
#include "pointwise_bfloat16.hpp"
#include "threads.hpp"
#include "vector_bfloat16.hpp"

namespace halo {
namespace {

std::mutex turn;  // MindSpore may run kernels at once; the primitives' memories and the buffers are shared

// In place. oneDNN's own, at the end of a convolution, takes four times as long as this.
void apply_silu([[maybe_unused]] bfloat16* map, int64_t size) {
#if defined(HALO_BFLOAT16)
  constexpr int64_t STEP = 16;
  parallel_ranges((size + STEP - 1) / STEP, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin * STEP; i < std::min(size, end * STEP); i += STEP) {
      const __mmask16 lanes = lanes_below(size - i);
      store_bfloat16(map + i, short_silu(load_bfloat16(map + i, lanes)), lanes);
    }
  });
#else
  throw std::runtime_error("this processor has no instructions for bfloat16: " + std::to_string(size) + " numbers of it");
#endif
}

// `settings` are stride, groups, activation, extras, number of the frozen weights or 0.
Shape read_shape(Work work, const Arguments& args, int map, int weights, int out, int settings_index) {
  args.expect_map(map);
  args.expect_map(weights);
  args.floats(weights);
  args.expect_size(settings_index, 5);
  const int64_t* settings = args.settings(settings_index);
  const int64_t stride = settings[0], groups = settings[1], kernel = args.side(weights, 2);
  if (stride < 1 || groups < 1 || settings[2] < 0 || settings[2] > 2 || kernel % 2 == 0) {
    throw std::length_error("settings are out of their range");
  }
  args.expect(weights, {args.side(weights, 0), args.side(map, 3) / groups, kernel, kernel});
  if (args.side(map, 3) % groups || args.side(weights, 0) % groups) throw std::length_error("groups do not divide the channels");
  args.expect(out, {args.side(map, 0), (args.side(map, 1) + stride - 1) / stride,
                    (args.side(map, 2) + stride - 1) / stride, args.side(weights, 0)});
  return Shape{work,
               args.side(map, 0),
               args.side(map, 1),
               args.side(map, 2),
               args.side(map, 3),
               args.side(out, 1),
               args.side(out, 2),
               args.side(out, 3),
               kernel,
               settings[0],
               settings[1],
               settings[2],
               settings[3],
               args.type(map),
               args.type(out)};
}

// Weights as a kernel of our own wants them, which `fill` makes: kept where they are frozen.
template <typename Fill>
const void* find_packed(const Arguments& args, const Shape& shape, int64_t frozen_number, int64_t count, const Fill& fill) {
  const float* weights = args.floats(1);
  const auto pack = [&](Buffer& buffer) {
    void* packed = buffer.reserve(count * sizeof(uint32_t));
    fill(weights, packed);
    return packed;
  };
  if (frozen_number == 0) return pack(weights_buffer);
  return frozen_weights()[frozen_number].find(nullptr, shape.type, weights, args.size(1), pack);
}

const float* find_bias(const Arguments& args, const Shape& shape) { return shape.extras & 1 ? args.floats(2) : nullptr; }

void run_pointwise(const Arguments& args, const Shape& shape, int64_t frozen_number) {
  const Pointwise pointwise = {shape.batch,     shape.height,       shape.width,  shape.channels,  shape.out_height,
                               shape.out_width, shape.out_channels, shape.stride, shape.activation};
  const void* packed = find_packed(args, shape, frozen_number, count_packed(pointwise), [&](const float* weights, void* to) {
    pack_weights(pointwise, weights, static_cast<uint32_t*>(to));
  });
  multiply_pixels(pointwise, args.elements<bfloat16>(0), static_cast<const uint32_t*>(packed), find_bias(args, shape),
                  shape.extras & 6 ? args.elements<bfloat16>(3) : nullptr, args.elements<bfloat16>(5));
}

void run_grouped(const Arguments& args, const Shape& shape, int64_t frozen_number) {
  const Grouped grouped = {shape.batch,     shape.height, shape.width,  shape.channels,  shape.out_height,
                           shape.out_width, shape.kernel, shape.stride, shape.activation};
  const int64_t count = count_packed(grouped, shape.type);
  const void* packed = find_packed(args, shape, frozen_number, count, [&](const float* weights, void* to) {
    pack_weights(grouped, shape.type, weights, to);
  });
  convolve_groups(grouped, shape.type, args.data(0), packed, find_bias(args, shape),
                  shape.extras & 6 ? args.data(3) : nullptr, args.data(5));
}

}  // namespace
}  // namespace halo

using namespace halo;

// map (B, H, W, C), weights, bias (O,), added (B, H', W', O), settings -> out (B, H', W', O)
HALO_KERNEL(convolution) {
  args.expect_count(6);
  Shape shape = read_shape(Work::FORWARD, args, 0, 1, 5, 4);
  const int64_t* settings = args.settings(4);
  if (shape.extras & 1) args.expect(2, {shape.out_channels});
  if (shape.extras & 2) args.expect_same(3, 5);
  if (shape.extras & 2 && args.type(3) != shape.out_type) throw std::invalid_argument("maps are of two types");
  if (shape.extras & 2 && args.data(3) == args.data(5)) shape.extras += 2;  // in place, which oneDNN does much faster
  std::lock_guard<std::mutex> lock(turn);
  if (shape.is_pointwise()) return run_pointwise(args, shape, settings[4]);
  if (shape.is_grouped()) return run_grouped(args, shape, settings[4]);
  Convolution& convolution = find_convolution(shape);
  const float* weights = args.floats(1);
  const auto pack = [&](Buffer& buffer) { return convolution.pack(weights, buffer); };
  const bool is_frozen = settings[4] != 0 && convolution.packs();
  const void* packed = is_frozen ? frozen_weights()[settings[4]].find(convolution.packed_desc(), shape.type, weights,
                                                                      args.size(1), pack)
                                 : pack(weights_buffer);
  convolution.forward(args.data(0), packed, find_bias(args, shape), shape.extras & 2 ? args.data(3) : nullptr,
                      args.data(5));
  if (shape.defers_silu()) apply_silu(args.elements<bfloat16>(5), args.size(5));
}

// out's gradient (B, H', W', O), weights, map (B, H, W, C), settings -> map's gradient
HALO_KERNEL(convolution_backward_input) {
  args.expect_count(5);
  const Shape shape = read_shape(Work::BACKWARD_INPUT, args, 2, 1, 0, 3);
  args.expect_same(4, 2);
  if (args.type(4) != shape.type || args.type(0) != shape.type) throw std::invalid_argument("maps are of two types");
  std::lock_guard<std::mutex> lock(turn);
  Convolution& convolution = find_convolution(shape);
  convolution.backward_input(args.data(0), convolution.pack(args.floats(1), weights_buffer), args.data(4));
}

// out's gradient (B, H', W', O), map (B, H, W, C), weights, settings -> weights' gradient
HALO_KERNEL(convolution_backward_weights) {
  args.expect_count(5);
  const Shape shape = read_shape(Work::BACKWARD_WEIGHTS, args, 1, 2, 0, 3);
  args.expect_same(4, 2);
  if (args.type(0) != shape.type) throw std::invalid_argument("maps are of two types");
  std::lock_guard<std::mutex> lock(turn);
  find_convolution(shape).backward_weights(args.data(1), args.data(0), args.floats(4));
}

// Called from Python when a frozen network is gone.
extern "C" void forget_frozen(int64_t number) {
  std::lock_guard<std::mutex> lock(turn);
  frozen_weights().erase(number);
}
