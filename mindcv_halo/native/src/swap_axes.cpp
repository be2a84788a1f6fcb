// A map's channels from first to last, or back.
#include <vector>

#include "kernel.hpp"
#include "threads.hpp"

using namespace halo;

// (B, M, N) -> (B, N, M)
HALO_KERNEL(swap_axes) {
  constexpr int64_t TILE = 16;  // a side of what is moved at once: both its rows and its columns stay in the cache
  const int64_t batch = args.side(0, 0), rows = args.side(0, 1), columns = args.side(0, 2);
  const int64_t strips = (columns + TILE - 1) / TILE;
  const float* in = args.floats(0);
  float* out = args.floats(1);
  parallel_ranges(batch * strips, [&](int, int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      const float* source = in + strip / strips * rows * columns;
      float* target = out + strip / strips * rows * columns;
      const int64_t first = strip % strips * TILE, last = std::min(columns, first + TILE);
      for (int64_t row = 0; row < rows; row += TILE) {
        const int64_t end_row = std::min(rows, row + TILE);
        for (int64_t column = first; column < last; ++column) {
          for (int64_t i = row; i < end_row; ++i) target[column * rows + i] = source[i * columns + column];
        }
      }
    }
  });
}
