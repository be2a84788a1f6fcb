#include "onednn.hpp"

#include <dlfcn.h>

#include <cstdio>
#include <stdexcept>
#include <string>

#include "threads.hpp"

namespace halo::onednn {
namespace {

class Threads : public dnnl::threadpool_interop::threadpool_iface {
 public:
  int get_num_threads() const override { return num_threads(); }
  bool get_in_parallel() const override { return in_task(); }
  void parallel_for(int count, const std::function<void(int, int)>& body) override {
    run_tasks(count, [&](int i) { body(i, count); });
  }
  uint64_t get_flags() const override { return 0; }
};

Library loaded;
Engine* the_engine = nullptr;
Stream* the_stream = nullptr;

template <typename Function>
void find(void* handle, Function& function, const char* name) {
  function = reinterpret_cast<Function>(dlsym(handle, name));
  if (function == nullptr) throw std::runtime_error(std::string("oneDNN has no ") + name);
}

void find_all(void* handle) {
  find(handle, loaded.version, "dnnl_version");
  find(handle, loaded.set_max_cpu_isa, "dnnl_set_max_cpu_isa");
  find(handle, loaded.set_max_concurrency, "dnnl_threadpool_interop_set_max_concurrency");
  find(handle, loaded.engine_create, "dnnl_engine_create");
  find(handle, loaded.stream_create, "dnnl_threadpool_interop_stream_create");
  find(handle, loaded.stream_wait, "dnnl_stream_wait");
  find(handle, loaded.memory_desc_create, "dnnl_memory_desc_create_with_tag");
  find(handle, loaded.memory_desc_clone, "dnnl_memory_desc_clone");
  find(handle, loaded.memory_desc_equal, "dnnl_memory_desc_equal");
  find(handle, loaded.memory_desc_size, "dnnl_memory_desc_get_size");
  find(handle, loaded.memory_create, "dnnl_memory_create");
  find(handle, loaded.memory_set_data, "dnnl_memory_set_data_handle");
  find(handle, loaded.post_ops_create, "dnnl_post_ops_create");
  find(handle, loaded.post_ops_append_eltwise, "dnnl_post_ops_append_eltwise");
  find(handle, loaded.post_ops_append_binary, "dnnl_post_ops_append_binary");
  find(handle, loaded.post_ops_append_sum, "dnnl_post_ops_append_sum");
  find(handle, loaded.attributes_create, "dnnl_primitive_attr_create");
  find(handle, loaded.attributes_set_post_ops, "dnnl_primitive_attr_set_post_ops");
  find(handle, loaded.attributes_set_scratchpad, "dnnl_primitive_attr_set_scratchpad_mode");
  find(handle, loaded.convolution, "dnnl_convolution_forward_primitive_desc_create");
  find(handle, loaded.convolution_backward_data, "dnnl_convolution_backward_data_primitive_desc_create");
  find(handle, loaded.convolution_backward_weights, "dnnl_convolution_backward_weights_primitive_desc_create");
  find(handle, loaded.reorder, "dnnl_reorder_primitive_desc_create");
  find(handle, loaded.query_desc, "dnnl_primitive_desc_query_md");
  find(handle, loaded.primitive_create, "dnnl_primitive_create");
  find(handle, loaded.primitive_desc_destroy, "dnnl_primitive_desc_destroy");
  find(handle, loaded.execute, "dnnl_primitive_execute");
}

}  // namespace

void check(Status status, const char* what) {
  if (status != 0) throw std::runtime_error(std::string("oneDNN: ") + what + " gave status " + std::to_string(status));
}

const Library& library() {
  if (the_stream == nullptr) throw std::runtime_error("oneDNN is not loaded: call use_onednn first");
  return loaded;
}

Engine* engine() { return the_engine; }

Stream* stream() { return the_stream; }

void open(const char* path) {
  void* handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw std::runtime_error(dlerror());
  find_all(handle);
  const Version* version = loaded.version();
  if (version->major != 3 || version->cpu_runtime != THREADPOOL_RUNTIME) {
    throw std::runtime_error("this oneDNN is not version 3, or not built for a thread pool");
  }
  loaded.set_max_cpu_isa(0);  // no limit, whatever ONEDNN_MAX_CPU_ISA says to MindSpore's own copy
  static Threads threads;
  check(loaded.engine_create(&the_engine, CPU, 0), "engine");
  dnnl::threadpool_interop::threadpool_iface* pool = &threads;
  check(loaded.stream_create(&the_stream, the_engine, pool), "stream");
}

}  // namespace halo::onednn

// Called from Python: 0, or 1 after a line on standard error.
extern "C" int use_onednn(const char* path) {
  try {
    halo::onednn::open(path);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "use_onednn: %s\n", error.what());
    return 1;
  }
}
