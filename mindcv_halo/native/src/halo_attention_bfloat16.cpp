// One task is a row of blocks of one head.
#include "halo_attention_bfloat16.hpp"

#include <stdexcept>
#include <vector>

#include "halo_window_row.hpp"
#include "threads.hpp"

namespace halo {

#if defined(HALO_BFLOAT16)
namespace {

class BlockRow {
 public:
  BlockRow(const Geometry& g, const PackedTable& heights, const PackedTable& widths)
      : g_(g),
        windows_(g, heights, widths),
        depth_(round_up(g.dim_key, DEPTH)),
        dims_(round_up(g.dim_value, SIDE)),
        keys_(g.window.height * windows_.width * depth_, bfloat16(0.f)),
        values_(windows_.pairs * dims_ * windows_.width),
        queries_(depth_ * SIDE / 2),
        weights_(windows_.pairs * windows_.strips * AREA, 0u) {}

  void run(int64_t number, const bfloat16* q, const bfloat16* kv, bfloat16* out, float* scales) {
    windows_.move_to(number);
    for (int64_t column = 0; column < g_.columns(); ++column) {
      if (g_.scrambled) windows_.unfold_window(column, kv);
      if (g_.scrambled || column == 0) {
        windows_.pack_rows(kv, 0, g_.dim_key, depth_, keys_.data());
        windows_.pack_pairs(kv, g_.value, g_.dim_value, values_.data());
      }
      for (int64_t first = 0; first < g_.queries(); first += SIDE) {
        attend(column, first, q, out, scales + 2 * ((number * g_.columns() + column) * g_.queries() + first));
      }
    }
  }

 private:
  void attend(int64_t column, int64_t first, const bfloat16* q, bfloat16* out, float* scales) {
    int64_t source[SIDE], target[SIDE];
    windows_.find_queries(column, first, g_.q, source);
    windows_.find_queries(column, first, g_.out, target);
    windows_.pack_columns(q, source, g_.dim_key, queries_.data());
    __m512 most = _mm512_set1_ps(-__builtin_inff());
    const float* logits = windows_.compute_logits(column, first, keys_.data(), queries_.data(), [&](int64_t, __m512 logit, int) {
      most = _mm512_max_ps(most, logit);
      return logit;
    });
    const __m512 inverse = _mm512_div_ps(_mm512_set1_ps(1.f), compute_weights(logits, most));
    for (int64_t d = 0; d < dims_; d += 2 * SIDE) mix(column, d, inverse, target, out);
    alignas(64) float of_most[SIDE], of_inverse[SIDE];
    _mm512_store_ps(of_most, most);
    _mm512_store_ps(of_inverse, inverse);
    for (int64_t i = 0; i < std::min<int64_t>(SIDE, g_.queries() - first); ++i) {
      scales[2 * i] = of_most[i];
      scales[2 * i + 1] = of_inverse[i];
    }
  }

  // [pair of rows][x][query] of the softmax before its division; the sums to divide by.
  __m512 compute_weights(const float* logits, __m512 most) {
    __m512 sum = _mm512_setzero_ps();
    for (int64_t pair = 0; pair < windows_.pairs; ++pair) {
      const float* upper = logits + 2 * pair * windows_.strips * AREA;
      const float* lower = 2 * pair + 1 < g_.window.height ? upper + windows_.strips * AREA : nullptr;
      uint32_t* weight = weights_.data() + pair * windows_.strips * AREA;
      for (int64_t x = 0; x < g_.window.width; ++x) {
        const __m512 one = short_exp(_mm512_sub_ps(_mm512_loadu_ps(upper + x * SIDE), most));
        __m512 other = _mm512_setzero_ps();
        if (lower != nullptr) other = short_exp(_mm512_sub_ps(_mm512_loadu_ps(lower + x * SIDE), most));
        sum = _mm512_add_ps(sum, _mm512_add_ps(one, other));
        _mm512_storeu_si512(weight + x * SIDE, make_pairs(one, other));
      }
    }
    return sum;
  }

  // Of values' numbers `d` and on, as many as two tiles take.
  void mix(int64_t column, int64_t d, __m512 inverse, const int64_t* target, bfloat16* out) {
    alignas(64) float mixed[4 * AREA];
    const int64_t count = std::min<int64_t>(2, (dims_ - d) / SIDE);
    windows_.sum_keys(column, values_.data(), dims_, d, count, weights_.data(), mixed);
    for (int64_t tile = 0; tile < count; ++tile, d += SIDE) {
      float* sums = mixed + 2 * tile * AREA;
      for (int i = 0; i < AREA; i += SIDE) _mm512_store_ps(sums + i, _mm512_mul_ps(_mm512_load_ps(sums + i), inverse));
      windows_.write_queries(sums, target, lanes_below(g_.dim_value - d), out + d);
    }
  }

  const Geometry& g_;
  WindowRow windows_;
  const int64_t depth_, dims_;  // of keys and of values, rounded up to whole tiles
  std::vector<bfloat16> keys_;
  std::vector<uint32_t> values_, queries_, weights_;
};

}  // namespace

void attend_bfloat16(const Geometry& g, const bfloat16* q, const bfloat16* kv, const float* height_rel,
                     const float* width_rel, bfloat16* out, float* scales) {
  const PackedTable heights(height_rel, g.window.height, g.dim_key), widths(width_rel, g.window.width, g.dim_key);
  parallel_ranges(g.batch * g.heads * g.rows(), [&](int, int64_t begin, int64_t end) {
    BlockRow row(g, heights, widths);
    for (int64_t number = begin; number < end; ++number) row.run(number, q, kv, out, scales);
  });
}

#else

void attend_bfloat16(const Geometry&, const bfloat16*, const bfloat16*, const float*, const float*, bfloat16*, float*) {
  throw std::runtime_error("this processor has no instructions for bfloat16");
}

#endif

}  // namespace halo
