// A map's channels from first to last, and back; from one type to another on the way.
#include "kernel.hpp"
#include "threads.hpp"

namespace halo {
namespace {

constexpr int64_t COLOURS = 3;

// (batch, COLOURS, pixels) -> (batch, pixels, COLOURS): images, whose channels fill no vector.
template <typename In, typename Out>
void interleave(int64_t batch, int64_t pixels, const In* in, Out* out) {
  parallel_ranges(batch * pixels, [&](int, int64_t begin, int64_t end) {
    while (begin < end) {
      const int64_t image = begin / pixels, first = begin % pixels, count = std::min(end - begin, pixels - first);
      const In* source = in + image * COLOURS * pixels + first;
      Out* target = out + begin * COLOURS;
      for (int64_t i = 0; i < count; ++i) {
        for (int64_t c = 0; c < COLOURS; ++c) target[i * COLOURS + c] = Out(source[c * pixels + i]);
      }
      begin += count;
    }
  });
}

// (batch, rows, columns) -> (batch, columns, rows)
template <typename In, typename Out>
void swap_axes(int64_t batch, int64_t rows, int64_t columns, const In* in, Out* out) {
  if (rows == COLOURS) return interleave(batch, columns, in, out);
  constexpr int64_t TILE = 16;  // a side of what is moved at once: both its rows and its columns stay in the cache
  const int64_t strips = (columns + TILE - 1) / TILE;
  parallel_ranges(batch * strips, [&](int, int64_t begin, int64_t end) {
    for (int64_t strip = begin; strip < end; ++strip) {
      const In* source = in + strip / strips * rows * columns;
      Out* target = out + strip / strips * rows * columns;
      const int64_t first = strip % strips * TILE, last = std::min(columns, first + TILE);
      for (int64_t row = 0; row < rows; row += TILE) {
        const int64_t end_row = std::min(rows, row + TILE);
        for (int64_t column = first; column < last; ++column) {
          for (int64_t i = row; i < end_row; ++i) target[column * rows + i] = Out(source[i * columns + column]);
        }
      }
    }
  });
}

// The same for the arguments of both kernels, each of its own type.
void swap_any(const Arguments& args, int64_t rows, int64_t columns) {
  with_element(args.type(0), [&](auto in) {
    with_element(args.type(1), [&](auto out) {
      using In = typename decltype(in)::type;
      using Out = typename decltype(out)::type;
      swap_axes(args.side(0, 0), rows, columns, args.elements<In>(0), args.elements<Out>(1));
    });
  });
}

}  // namespace
}  // namespace halo

using namespace halo;

// (B, C, H, W) -> (B, H, W, C)
HALO_KERNEL(channels_last) {
  args.expect_count(2);
  args.expect_map(0);
  args.expect(1, {args.side(0, 0), args.side(0, 2), args.side(0, 3), args.side(0, 1)});
  swap_any(args, args.side(0, 1), args.side(0, 2) * args.side(0, 3));
}

// (B, H, W, C) -> (B, C, H, W)
HALO_KERNEL(channels_first) {
  args.expect_count(2);
  args.expect_map(0);
  args.expect(1, {args.side(0, 0), args.side(0, 3), args.side(0, 1), args.side(0, 2)});
  swap_any(args, args.side(0, 1) * args.side(0, 2), args.side(0, 3));
}
