// Adam with decoupled weight decay, in place, for all parameters of an optimizer at once.
#include <cmath>

#include "kernel.hpp"
#include "threads.hpp"

using namespace halo;

// N parameters, N averages of gradients, N of their squares, N gradients, rates (N,), decays (N,),
// numbers (beta1, beta2, eps) -> one zero; changes the first 3 N
HALO_KERNEL(adamw) {
  const int n = (args.count() - 4) / 4;
  args.expect_count(4 * n + 4);
  for (int i = 0; i < 3 * n; ++i) args.expect_size(n + i, args.size(i % n));
  for (const int index : {4 * n, 4 * n + 1}) args.expect_size(index, n);
  args.expect_size(4 * n + 2, 3);
  args.expect_size(4 * n + 3, 1);
  const float *rates = args.floats(4 * n), *decays = args.floats(4 * n + 1), *numbers = args.floats(4 * n + 2);
  const float beta1 = numbers[0], beta2 = numbers[1], eps = numbers[2];
  for (int i = 0; i < n; ++i) {
    float *parameter = args.floats(i), *mean = args.floats(n + i), *square = args.floats(2 * n + i);
    const float* gradient = args.floats(3 * n + i);
    const float rate = rates[i], decay = decays[i];
    parallel_ranges(args.size(i), [&](int, int64_t begin, int64_t end) {
#pragma GCC ivdep
      for (int64_t j = begin; j < end; ++j) {
        const float g = gradient[j];
        mean[j] += (1.f - beta1) * (g - mean[j]);
        square[j] += (1.f - beta2) * (g * g - square[j]);
        parameter[j] -= rate * (mean[j] / (std::sqrt(square[j]) + eps) + decay * parameter[j]);
      }
    });
  }
  args.floats(4 * n + 3)[0] = 0.f;
}
