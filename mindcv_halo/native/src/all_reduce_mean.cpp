// Many tensors as a few buckets for collectives, and back as their means over ranks.
#include <stdexcept>

#include "kernel.hpp"
#include "threads.hpp"

using namespace halo;

namespace {

// Buckets one after the other, each of which whole tensors fill.
class Buckets {
 public:
  Buckets(const Arguments& args, int first, int count) : args_(args), index_(first), end_(first + count) {}

  // The place of the next `size` numbers.
  float* next(int64_t size) {
    if (index_ < end_ && filled_ == args_.size(index_)) {
      ++index_;
      filled_ = 0;
    }
    if (index_ >= end_ || filled_ + size > args_.size(index_)) throw std::length_error("tensors do not fill the buckets");
    filled_ += size;
    return args_.floats(index_) + filled_ - size;
  }

  // Throws unless all of them are full.
  void finish() const {
    if (index_ + 1 != end_ || filled_ != args_.size(index_)) throw std::length_error("tensors do not fill the buckets");
  }

 private:
  const Arguments& args_;
  int index_, end_;
  int64_t filled_ = 0;
};

}  // namespace

// settings (N,), N tensors -> buckets that hold them in their order
HALO_KERNEL(join_tensors) {
  args.expect_size(0, 1);
  const int n = static_cast<int>(args.settings(0)[0]);
  if (n < 0 || args.count() < 1 + n) throw std::length_error("settings and tensors do not fit");
  Buckets buckets(args, 1 + n, args.count() - 1 - n);
  for (int i = 1; i <= n; ++i) {
    const float* from = args.floats(i);
    float* to = buckets.next(args.size(i));
    parallel_ranges(args.size(i), [&](int, int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) to[j] = from[j];
    });
  }
  buckets.finish();
}

// settings (K, S, G, ranks), K sums in buckets, S statistics -> G gradients, the loss; the buckets hold the gradients,
// the statistics and the loss in this order, and the statistics are changed in place
HALO_KERNEL(share_means) {
  args.expect_size(0, 4);
  const int64_t* settings = args.settings(0);
  const int k = static_cast<int>(settings[0]), s = static_cast<int>(settings[1]), g = static_cast<int>(settings[2]);
  const float ranks = static_cast<float>(settings[3]);
  if (args.count() != 1 + k + s + g + 1) throw std::length_error("settings and tensors do not fit");
  Buckets buckets(args, 1, k);
  auto share = [&](int target) {
    const float* from = buckets.next(args.size(target));
    float* to = args.floats(target);
    parallel_ranges(args.size(target), [&](int, int64_t begin, int64_t end) {
      for (int64_t j = begin; j < end; ++j) to[j] = from[j] / ranks;
    });
  };
  const int statistics = 1 + k, outputs = statistics + s;
  for (int i = 0; i < g; ++i) share(outputs + i);
  for (int i = 0; i < s; ++i) share(statistics + i);
  share(outputs + g);
  buckets.finish();
}
