// The stem's 3x3 max pool of stride 2 with a border of one pixel, on channels-last maps.
#include <vector>

#include "kernel.hpp"
#include "threads.hpp"

namespace halo {
namespace {

// Calls body(row, column) for the taps of an output pixel's window that lie on the map, row by row.
template <typename Body>
void visit_taps(int64_t y, int64_t x, int64_t height, int64_t width, const Body& body) {
  for (int64_t row = std::max<int64_t>(0, 2 * y - 1); row < std::min(height, 2 * y + 2); ++row) {
    for (int64_t column = std::max<int64_t>(0, 2 * x - 1); column < std::min(width, 2 * x + 2); ++column) {
      body(row, column);
    }
  }
}

// Of a number that may be none, and one that is one.
inline float larger(float value, float most) { return value > most ? value : most; }

// Three rows at a time, then three columns of what is left, so that memory is read in order.
template <typename Element>
void pool(const Arguments& args, const Element* map, Element* out) {
  const int64_t batch = args.side(0, 0), height = args.side(0, 1), width = args.side(0, 2), channels = args.side(0, 3);
  const int64_t rows = args.side(2, 1), columns = args.side(2, 2), length = width * channels;
  const float border = args.floats(1)[0];
  parallel_ranges(batch * rows, [&](int, int64_t begin, int64_t end) {
    std::vector<float> highest(length);
    float* most = highest.data();
    for (int64_t line = begin; line < end; ++line) {
      const int64_t y = line % rows;
      const Element* middle = map + (line / rows * height + 2 * y) * length;
      const Element* above = y > 0 ? middle - length : middle;
      const Element* below = 2 * y + 1 < height ? middle + length : middle;
#pragma GCC ivdep
      for (int64_t i = 0; i < length; ++i) {
        most[i] = larger(below[i], larger(middle[i], larger(above[i], -__builtin_inff())));
      }
      for (int64_t x = 0; x < columns; ++x) {
        const float* centre = most + 2 * x * channels;
        const float* left = x > 0 ? centre - channels : centre;
        const float* right = 2 * x + 1 < width ? centre + channels : centre;
        const float least = above == middle || below == middle || left == centre || right == centre ? border : -__builtin_inff();
        Element* target = out + (line * columns + x) * channels;
#pragma GCC ivdep
        for (int64_t c = 0; c < channels; ++c) {
          target[c] = Element(larger(right[c], larger(centre[c], larger(left[c], least))));
        }
      }
    }
  });
}

template <typename Element>
void unpool(const Arguments& args, const Element* diff_out, const Element* out, const Element* map, Element* diff_map) {
  const int64_t batch = args.side(2, 0), height = args.side(2, 1), width = args.side(2, 2), channels = args.side(2, 3);
  const int64_t rows = args.side(0, 1), columns = args.side(0, 2);
  // Pieces of channels too, so that a single image keeps all threads busy.
  const int64_t pieces = std::max<int64_t>(1, std::min<int64_t>(num_threads(), channels / 16));
  run_tasks(static_cast<int>(batch * pieces), [&](int task) {
    const int64_t image = task / pieces;
    const int64_t first = channels * (task % pieces) / pieces, last = channels * (task % pieces + 1) / pieces;
    std::vector<float> left(channels);  // of the gradient, for the taps to come
    for (int64_t pixel = image * height * width; pixel < (image + 1) * height * width; ++pixel) {
      std::fill(diff_map + pixel * channels + first, diff_map + pixel * channels + last, Element(0.f));
    }
    for (int64_t pixel = 0; pixel < rows * columns; ++pixel) {
      const int64_t start = (image * rows * columns + pixel) * channels;
      std::copy(diff_out + start + first, diff_out + start + last, left.begin() + first);
      visit_taps(pixel / columns, pixel % columns, height, width, [&](int64_t row, int64_t column) {
        const int64_t source = ((image * height + row) * width + column) * channels;
        const Element *value = map + source, *most = out + start;
        Element* target = diff_map + source;
        float* rest = left.data();
#pragma GCC ivdep
        for (int64_t c = first; c < last; ++c) {
          const float taken = float(value[c]) == float(most[c]) ? rest[c] : 0.f;
          target[c] = Element(float(target[c]) + taken);
          rest[c] -= taken;
        }
      });
    }
  });
}

}  // namespace
}  // namespace halo

using namespace halo;

// map (B, H, W, C), border (one number) -> out (B, H', W', C)
HALO_KERNEL(max_pool) {
  args.expect_count(3);
  args.expect_map(0);
  args.expect_size(1, 1);
  args.expect(2, {args.side(0, 0), (args.side(0, 1) + 1) / 2, (args.side(0, 2) + 1) / 2, args.side(0, 3)});
  with_element(args.type(0), [&](auto tag) {
    using Element = typename decltype(tag)::type;
    pool(args, args.elements<Element>(0), args.elements<Element>(2));
  });
}

// out's gradient, out, map -> map's gradient: it goes to the first tap of a window that holds the largest value.
HALO_KERNEL(max_pool_backward) {
  args.expect_count(4);
  args.expect_map(2);
  args.expect(0, {args.side(2, 0), (args.side(2, 1) + 1) / 2, (args.side(2, 2) + 1) / 2, args.side(2, 3)});
  args.expect_same(1, 0);
  args.expect_same(3, 2);
  with_element(args.type(2), [&](auto tag) {
    using Element = typename decltype(tag)::type;
    unpool(args, args.elements<Element>(0), args.elements<Element>(1), args.elements<Element>(2), args.elements<Element>(3));
  });
}
