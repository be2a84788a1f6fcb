// The sum of the gradients of a map that two layers read.
#include "kernel.hpp"
#include "threads.hpp"

using namespace halo;

// map, map of the same shape -> their sum
HALO_KERNEL(add_maps) {
  args.expect_count(3);
  args.expect_same(1, 0);
  args.expect_same(2, 0);
  with_element(args.type(0), [&](auto tag) {
    using Element = typename decltype(tag)::type;
    const Element *one = args.elements<Element>(0), *other = args.elements<Element>(1);
    Element* sum = args.elements<Element>(2);
    parallel_ranges(args.size(0), [&](int, int64_t begin, int64_t end) {
#pragma GCC ivdep
      for (int64_t i = begin; i < end; ++i) sum[i] = Element(one[i] + other[i]);
    });
  });
}
