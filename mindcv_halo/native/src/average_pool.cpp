// The 2x2 average pool behind halo attention of odd blocks, on channels-last maps.
#include "kernel.hpp"
#include "threads.hpp"

namespace halo {
namespace {

// Calls body(index of the first of four numbers' channels, of the one below it, of their mean) for each pixel of the
// smaller map; pixels to the right are `channels` further on.
template <typename Body>
void visit_squares(int64_t batch, int64_t height, int64_t width, int64_t channels, const Body& body) {
  parallel_ranges(batch * height, [&](int, int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      for (int64_t x = 0; x < width; ++x) {
        const int64_t upper = (4 * row * width + 2 * x) * channels;
        body(upper, upper + 2 * width * channels, (row * width + x) * channels);
      }
    }
  });
}

void check_halves(const Arguments& args, int large, int small) {
  args.expect_map(small);
  args.expect(large, {args.side(small, 0), 2 * args.side(small, 1), 2 * args.side(small, 2), args.side(small, 3)});
  if (args.type(large) != args.type(small)) throw std::invalid_argument("maps are of two types");
}

}  // namespace
}  // namespace halo

using namespace halo;

// map (B, 2 H, 2 W, C) -> (B, H, W, C)
HALO_KERNEL(average_pool) {
  args.expect_count(2);
  check_halves(args, 0, 1);
  const int64_t channels = args.side(1, 3);
  with_element(args.type(0), [&](auto tag) {
    using Element = typename decltype(tag)::type;
    const auto* map = args.elements<Element>(0);
    auto* out = args.elements<Element>(1);
    visit_squares(args.side(1, 0), args.side(1, 1), args.side(1, 2), channels,
                  [&](int64_t upper, int64_t lower, int64_t mean) {
#pragma GCC ivdep
                    for (int64_t c = 0; c < channels; ++c) {
                      const float above = float(map[upper + c]) + float(map[upper + channels + c]);
                      const float below = float(map[lower + c]) + float(map[lower + channels + c]);
                      out[mean + c] = Element(0.25f * (above + below));
                    }
                  });
  });
}

// out's gradient (B, H, W, C) -> map's gradient (B, 2 H, 2 W, C)
HALO_KERNEL(average_pool_backward) {
  args.expect_count(2);
  check_halves(args, 1, 0);
  const int64_t channels = args.side(0, 3);
  with_element(args.type(0), [&](auto tag) {
    using Element = typename decltype(tag)::type;
    const auto* diff_out = args.elements<Element>(0);
    auto* diff = args.elements<Element>(1);
    visit_squares(args.side(0, 0), args.side(0, 1), args.side(0, 2), channels,
                  [&](int64_t upper, int64_t lower, int64_t mean) {
#pragma GCC ivdep
                    for (int64_t c = 0; c < channels; ++c) {
                      const Element quarter(0.25f * float(diff_out[mean + c]));
                      diff[upper + c] = diff[upper + channels + c] = quarter;
                      diff[lower + c] = diff[lower + channels + c] = quarter;
                    }
                  });
  });
}
