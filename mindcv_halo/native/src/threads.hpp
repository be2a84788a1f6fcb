// One pool of threads for all kernels. MindSpore may start kernels from several threads of its own; they take turns.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>

namespace halo {

// As many threads as this process had processors when its first kernel ran.
int num_threads();

// Calls task(i) for each i in [0, count), each from one of the pool's threads; i % num_threads() decides which.
// From within a task it runs everything on the spot. Throws what a task threw, when all have ended.
void run_tasks(int count, const std::function<void(int)>& task);

// Whether the caller is running a task.
bool in_task();

// Cuts [0, size) into one range for each thread and calls body(thread, begin, end).
template <typename Body>
void parallel_ranges(int64_t size, const Body& body) {
  const int64_t threads = std::max<int64_t>(1, std::min<int64_t>(num_threads(), size));
  run_tasks(static_cast<int>(threads), [&](int thread) {
    body(thread, size * thread / threads, size * (thread + 1) / threads);
  });
}

}  // namespace halo
