#include "threads.hpp"

#include <sched.h>

#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace halo {
namespace {

constexpr int SPINS = 2000;  // some ten microseconds, as between two kernels; then threads sleep

thread_local bool inside_task = false;

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

int count_processors() {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? std::max(1, CPU_COUNT(&set)) : 1;
}

// Threads that live as long as the process. Never destroyed: at exit, waiting for them may hang.
class Pool {
 public:
  explicit Pool(int size) {
    try {
      for (; size_ < size; ++size_) std::thread([this, index = size_] { work(index); }).detach();
    } catch (const std::system_error&) {  // no more threads for this process: these do all the work
    }
  }

  int size() const { return size_; }

  void run(int count, const std::function<void(int)>& task) {
    std::lock_guard<std::mutex> turn(turn_);
    task_ = &task;
    count_ = count;
    pending_.store(size_ - 1);
    {
      std::lock_guard<std::mutex> lock(sleep_);
      round_.fetch_add(1);
    }
    wake_.notify_all();
    run_share(0);
    for (int spin = 0; pending_.load() != 0; ++spin) {
      if (spin < SPINS) {
        pause();
      } else {
        std::this_thread::yield();  // the processor may be needed by the thread that is waited for
      }
    }
    if (const std::exception_ptr failure = std::exchange(failure_, nullptr)) std::rethrow_exception(failure);
  }

 private:
  void run_share(int index) {
    inside_task = true;
    try {
      for (int i = index; i < count_; i += size_) (*task_)(i);
    } catch (...) {
      std::lock_guard<std::mutex> lock(sleep_);
      failure_ = std::current_exception();
    }
    inside_task = false;
  }

  void work(int index) {
    for (uint64_t seen = 0;;) {
      for (int spin = 0; spin < SPINS && round_.load() == seen; ++spin) pause();
      if (round_.load() == seen) {
        std::unique_lock<std::mutex> lock(sleep_);
        wake_.wait(lock, [&] { return round_.load() != seen; });
      }
      seen = round_.load();
      run_share(index);
      pending_.fetch_sub(1);
    }
  }

  int size_ = 1;  // with the thread that runs the kernel
  std::mutex turn_;
  std::mutex sleep_;
  std::condition_variable wake_;
  std::atomic<uint64_t> round_{0};
  std::atomic<int> pending_{0};
  const std::function<void(int)>* task_ = nullptr;
  int count_ = 0;
  std::exception_ptr failure_;  // of one of the tasks: `run` throws it, when all have ended
};

Pool& pool() {
  static Pool* pool = new Pool(count_processors());
  return *pool;
}

}  // namespace

int num_threads() { return pool().size(); }

bool in_task() { return inside_task; }

void run_tasks(int count, const std::function<void(int)>& task) {
  if (inside_task || count == 1) {
    for (int i = 0; i < count; ++i) task(i);
    return;
  }
  pool().run(count, task);
}

}  // namespace halo
