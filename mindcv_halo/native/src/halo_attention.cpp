// Halo attention on channels-last maps, without storing windows or attention weights.
//
// One task is a block of queries of one head. Its logits are kept as (keys, queries), a tile of queries at a time, with
// queries along the vectors' lanes: a softmax is then a walk over rows, keys are read where they lie in the map, and
// the position logits of a key's row and column are two rows to add.
#include <vector>

#include "activation.hpp"
#include "halo_attention_bfloat16.hpp"
#include "halo_logits.hpp"
#include "threads.hpp"

namespace halo {
namespace {

template <int TILE>
void attend(const Geometry& g, const float* q, const float* kv, const float* height_rel, const float* width_rel,
            float* out, float* scales) {
  const Positions heights(g, height_rel, true, TILE), widths(g, width_rel, false, TILE);
  parallel_ranges(g.batch * g.heads * g.blocks(), [&](int, int64_t begin, int64_t end) {
    Block<TILE> block(g);
    std::vector<float> logits(g.padded_keys() * TILE), positions((g.window.height + g.window.width) * TILE), mixed(g.dim_value * TILE);
    for (int64_t number = begin; number < end; ++number) {
      block.move_to(number, kv);
      for (int64_t first = 0; first < g.queries(); first += TILE) {
        float most[TILE], sum[TILE] = {};
        std::fill(most, most + TILE, -__builtin_inff());
        compute_logits<TILE>(block, q, first, heights, widths, positions, logits.data(),
                             [&](int64_t, const float* logit) {
                               for (int i = 0; i < TILE; ++i) most[i] = most[i] > logit[i] ? most[i] : logit[i];
                             });
        for (int64_t k = 0; k < g.keys(); ++k) {
          float* logit = logits.data() + k * TILE;
          for (int i = 0; i < TILE; ++i) {
            logit[i] = fast_exp(logit[i] - most[i]);
            sum[i] += logit[i];
          }
        }
        mix_rows<TILE>(logits.data(), block.key.data(), g.keys(), g.value, g.dim_value, mixed.data());
        for (int64_t d = 0; d < g.dim_value; ++d) {
          for (int i = 0; i < TILE; ++i) mixed[d * TILE + i] /= sum[i];
        }
        block.write_columns(mixed.data(), first, g.out, out);
        for (int64_t i = 0; i < std::min<int64_t>(TILE, g.queries() - first); ++i) {
          scales[2 * (number * g.queries() + first + i)] = most[i];
          scales[2 * (number * g.queries() + first + i) + 1] = 1.f / sum[i];
        }
      }
    }
  });
}

// The arguments from `rest` on: position tables, settings, out and scales.
template <typename Element>
void attend_any(const Arguments& args, const Geometry& g, const Element* q, const Element* kv, int rest) {
  const float *heights = args.floats(rest), *widths = args.floats(rest + 1);
  auto* out = args.elements<Element>(rest + 3);
  float* scales = args.floats(rest + 4);
  args.expect(rest + 4, {g.batch * g.heads * g.blocks(), g.queries(), 2});
  if constexpr (std::is_same_v<Element, bfloat16>) {
    attend_bfloat16(g, q, kv, heights, widths, out, scales);
  } else {
    with_tile(g, [&](auto tile) { attend<tile>(g, q, kv, heights, widths, out, scales); });
  }
}

}  // namespace
}  // namespace halo

using namespace halo;

// q (B, H', W', N * Dk), kv (B, H, W, N * (Dk + Dv)), height_rel, width_rel (2 * window - 1, Dk), settings (block, halo,
// heads, query, mask_padding, scale_position, scrambled)
// -> out (B, H'', W'', N * Dv), each query's largest logit and 1 / its softmax's sum (B * N * blocks, queries, 2)
HALO_KERNEL(halo_attention) {
  args.expect_count(7);
  const Geometry g = read_geometry(args, 0, 1, 2, 5, 4);
  with_element(args.type(0), [&](auto tag) {
    using Element = typename decltype(tag)::type;
    attend_any(args, g, args.elements<Element>(0), args.elements<Element>(1), 2);
  });
}

// qkv (B, H, W, 3 * N * D), height_rel (2 * H - 1, D), width_rel (2 * W - 1, D), settings (heads)
// -> out (B, H, W, N * D), each query's largest logit and 1 / its softmax's sum (B * N, H * W, 2)
HALO_KERNEL(bottleneck_attention) {
  args.expect_count(6);
  const Geometry g = read_whole_map(args, 0, 1, 4, 3);
  with_element(args.type(0), [&](auto tag) {
    const auto* qkv = args.elements<typename decltype(tag)::type>(0);
    attend_any(args, g, qkv, qkv + g.heads * g.dim_key, 1);
  });
}
