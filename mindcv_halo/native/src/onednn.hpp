// The part of oneDNN's C interface (version 3) that the convolutions use, declared here and looked up at run time in
// the copy of MindSpore's own libdnnl that `use_onednn` is given. Numbers are those of dnnl_types.h and
// dnnl_common_types.h.
#pragma once

#include <cstdint>
#include <functional>

namespace dnnl::threadpool_interop {

// oneDNN calls these through the virtual table, so that their order is part of the interface.
struct threadpool_iface {
  virtual int get_num_threads() const = 0;
  virtual bool get_in_parallel() const = 0;
  virtual void parallel_for(int count, const std::function<void(int, int)>& body) = 0;
  virtual uint64_t get_flags() const = 0;
  virtual ~threadpool_iface() = default;
};

}  // namespace dnnl::threadpool_interop

namespace halo::onednn {

using Status = int;
using Dims = int64_t[12];
struct Engine;
struct Stream;
struct MemoryDesc;
struct Memory;
struct PrimitiveDesc;
struct Primitive;
struct PostOps;
struct Attributes;
struct Argument {
  int role;
  Memory* memory;
};

enum : int { CPU = 1, SAME_TYPE = 0, BFLOAT16 = 2, FLOAT32 = 3, DIRECT_CONVOLUTION = 1, USER_SCRATCHPAD = 1 };
enum Tag : int { ANY = 1, VECTOR = 2, OIHW = 5, GOIHW = 6, NHWC = 22 };
enum Propagation : int { FORWARD_TRAINING = 64, FORWARD_INFERENCE = 96 };
enum PostOp : int { RELU = 32, SWISH = 44, ADD = 131056 };
enum Role : int {
  SOURCE = 1,
  TARGET = 17,
  WEIGHTS = 33,
  BIAS = 41,
  SCRATCHPAD = 80,
  DIFF_SOURCE = 129,
  DIFF_TARGET = 145,
  DIFF_WEIGHTS = 161,
  FIRST_POST_OP_SOURCE = 32768 | 2,
};
enum Query : int { WEIGHTS_DESC = 131, DIFF_WEIGHTS_DESC = 132, SCRATCHPAD_DESC = 136 };

struct Version {
  int major, minor, patch;
  const char* hash;
  unsigned cpu_runtime, gpu_runtime;
};
constexpr unsigned THREADPOOL_RUNTIME = 8;

struct Library {
  const Version* (*version)();
  Status (*set_max_cpu_isa)(int);
  Status (*set_max_concurrency)(int);
  Status (*engine_create)(Engine**, int kind, size_t index);
  Status (*stream_create)(Stream**, Engine*, void* threadpool);
  Status (*stream_wait)(Stream*);
  Status (*memory_desc_create)(MemoryDesc**, int ndims, const Dims, int type, int tag);
  Status (*memory_desc_clone)(MemoryDesc**, const MemoryDesc*);
  int (*memory_desc_equal)(const MemoryDesc*, const MemoryDesc*);
  size_t (*memory_desc_size)(const MemoryDesc*);
  Status (*memory_create)(Memory**, const MemoryDesc*, Engine*, void* data);
  Status (*memory_set_data)(Memory*, void* data);
  Status (*post_ops_create)(PostOps**);
  Status (*post_ops_append_eltwise)(PostOps*, int kind, float alpha, float beta);
  Status (*post_ops_append_binary)(PostOps*, int kind, const MemoryDesc*);
  Status (*post_ops_append_sum)(PostOps*, float scale, int32_t zero_point, int type);
  Status (*attributes_create)(Attributes**);
  Status (*attributes_set_post_ops)(Attributes*, const PostOps*);
  Status (*attributes_set_scratchpad)(Attributes*, int mode);
  Status (*convolution)(PrimitiveDesc**, Engine*, int propagation, int algorithm, const MemoryDesc* source,
                        const MemoryDesc* weights, const MemoryDesc* bias, const MemoryDesc* target, const Dims strides,
                        const Dims dilates, const Dims padding_left, const Dims padding_right, const Attributes*);
  Status (*convolution_backward_data)(PrimitiveDesc**, Engine*, int algorithm, const MemoryDesc* diff_source,
                                      const MemoryDesc* weights, const MemoryDesc* diff_target, const Dims strides,
                                      const Dims dilates, const Dims padding_left, const Dims padding_right,
                                      const PrimitiveDesc* hint, const Attributes*);
  Status (*convolution_backward_weights)(PrimitiveDesc**, Engine*, int algorithm, const MemoryDesc* source,
                                         const MemoryDesc* diff_weights, const MemoryDesc* diff_bias,
                                         const MemoryDesc* diff_target, const Dims strides, const Dims dilates,
                                         const Dims padding_left, const Dims padding_right, const PrimitiveDesc* hint,
                                         const Attributes*);
  Status (*reorder)(PrimitiveDesc**, const MemoryDesc* source, Engine*, const MemoryDesc* target, Engine*,
                    const Attributes*);
  const MemoryDesc* (*query_desc)(const PrimitiveDesc*, int what, int index);
  Status (*primitive_create)(Primitive**, const PrimitiveDesc*);
  Status (*primitive_desc_destroy)(PrimitiveDesc*);
  Status (*execute)(const Primitive*, Stream*, int count, const Argument*);
};

// The library, its engine and a stream that runs on this library's threads. Throw std::runtime_error before `open`.
const Library& library();
Engine* engine();
Stream* stream();

// Throws std::runtime_error for a status other than success.
void check(Status status, const char* what);

// Loads oneDNN from a file. Throws std::runtime_error if that is no oneDNN 3 built for a thread pool.
void open(const char* path);

}  // namespace halo::onednn
