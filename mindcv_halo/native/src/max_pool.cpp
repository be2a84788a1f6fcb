// The stem's 3x3 max pool of stride 2 with a border of one pixel, on channels-last maps.
#include <vector>

#include "kernel.hpp"
#include "threads.hpp"

namespace halo {
namespace {

// Calls body(tap, row, column) for the taps of an output pixel's window that lie on the map, row by row.
template <typename Body>
void visit_taps(int64_t y, int64_t x, int64_t height, int64_t width, const Body& body) {
  for (int tap = 0; tap < 9; ++tap) {
    const int64_t row = 2 * y + tap / 3 - 1, column = 2 * x + tap % 3 - 1;
    if (row >= 0 && row < height && column >= 0 && column < width) body(tap, row, column);
  }
}

}  // namespace
}  // namespace halo

using namespace halo;

// map (B, H, W, C), border (one number) -> out (B, H', W', C), the tap that won (the same, as bytes; 9 for the border)
HALO_KERNEL(max_pool) {
  const int64_t batch = args.side(0, 0), height = args.side(0, 1), width = args.side(0, 2), channels = args.side(0, 3);
  const int64_t rows = args.side(2, 1), columns = args.side(2, 2);
  const float* map = args.floats(0);
  const float border = args.floats(1)[0];
  float* out = args.floats(2);
  uint8_t* winners = args.bytes(3);
  parallel_ranges(batch * rows, [&](int, int64_t begin, int64_t end) {
    for (int64_t line = begin; line < end; ++line) {
      const int64_t image = line / rows, y = line % rows;
      for (int64_t x = 0; x < columns; ++x) {
        float* best = out + (line * columns + x) * channels;
        uint8_t* winner = winners + (line * columns + x) * channels;
        const bool inside = y > 0 && x > 0 && 2 * y + 1 < height && 2 * x + 1 < width;
        std::fill(best, best + channels, inside ? -__builtin_inff() : border);
        std::fill(winner, winner + channels, uint8_t{9});
        visit_taps(y, x, height, width, [&](int tap, int64_t row, int64_t column) {
          const float* values = map + ((image * height + row) * width + column) * channels;
#pragma GCC ivdep
          for (int64_t c = 0; c < channels; ++c) {
            const bool wins = values[c] > best[c];
            best[c] = wins ? values[c] : best[c];
            winner[c] = wins ? static_cast<uint8_t>(tap) : winner[c];
          }
        });
      }
    }
  });
}

// out's gradient, winners, map -> map's gradient
HALO_KERNEL(max_pool_backward) {
  const int64_t batch = args.side(2, 0), height = args.side(2, 1), width = args.side(2, 2), channels = args.side(2, 3);
  const int64_t rows = args.side(0, 1), columns = args.side(0, 2);
  const float* diff_out = args.floats(0);
  const uint8_t* winners = args.bytes(1);
  float* diff_map = args.floats(3);
  parallel_ranges(batch, [&](int, int64_t begin, int64_t end) {
    for (int64_t image = begin; image < end; ++image) {
      std::fill(diff_map + image * height * width * channels, diff_map + (image + 1) * height * width * channels, 0.f);
      for (int64_t pixel = 0; pixel < rows * columns; ++pixel) {
        const float* diff = diff_out + (image * rows * columns + pixel) * channels;
        const uint8_t* winner = winners + (image * rows * columns + pixel) * channels;
        visit_taps(pixel / columns, pixel % columns, height, width, [&](int tap, int64_t row, int64_t column) {
          float* target = diff_map + ((image * height + row) * width + column) * channels;
#pragma GCC ivdep
          for (int64_t c = 0; c < channels; ++c) target[c] += winner[c] == tap ? diff[c] : 0.f;
        });
      }
    }
  });
}
