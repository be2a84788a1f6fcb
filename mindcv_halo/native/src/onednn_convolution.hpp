// oneDNN's primitives for convolutions, each made once for its shape and kept.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <map>
#include <memory>
#include <tuple>

#include "buffer.hpp"
#include "element.hpp"
#include "grouped_convolution.hpp"
#include "onednn.hpp"
#include "pointwise_bfloat16.hpp"
#include "threads.hpp"

namespace halo {

using namespace onednn;

enum class Work : int64_t { FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHTS };

// Everything that decides on a primitive; stride to extras are the settings' first four numbers.
struct Shape {
  Work work;
  int64_t batch, height, width, channels, out_height, out_width, out_channels, kernel;
  int64_t stride, groups, activation;
  int64_t extras;  // 1 for a bias, 2 for a map to add before the activation, 4 for one that lies where the output will
  Type type, out_type;

  auto key() const {
    return std::tie(work, batch, height, width, channels, out_height, out_width, out_channels, kernel, stride, groups,
                    activation, extras, type, out_type);
  }
  bool is_pointwise() const {
    return kernel == 1 && groups == 1 && type == Type::BFLOAT16 && out_type == type && takes_pixels(channels, out_channels);
  }
  bool is_grouped() const {
    return kernel > 1 && out_type == type && takes_groups(type, channels, out_channels, groups, stride);
  }
  bool defers_silu() const { return activation == 2 && out_type == Type::BFLOAT16; }
  bool operator<(const Shape& other) const { return key() < other.key(); }
};

struct Operand {
  MemoryDesc* desc = nullptr;
  Memory* memory = nullptr;

  Operand(std::initializer_list<int64_t> sides, Type type, Tag tag) {
    Dims dims;
    std::copy(sides.begin(), sides.end(), dims);
    const int element = type == Type::BFLOAT16 ? BFLOAT16 : FLOAT32;
    check(library().memory_desc_create(&desc, static_cast<int>(sides.size()), dims, element, tag), "memory descriptor");
  }
  explicit Operand(const MemoryDesc* other) { check(library().memory_desc_clone(&desc, other), "memory descriptor"); }

  Memory* at(const void* data) {
    if (memory == nullptr) check(library().memory_create(&memory, desc, engine(), nullptr), "memory");
    check(library().memory_set_data(memory, const_cast<void*>(data)), "memory");
    return memory;
  }
  size_t size() const { return library().memory_desc_size(desc); }
};

inline Primitive* make_primitive(PrimitiveDesc* desc) {
  Primitive* primitive;
  check(library().primitive_create(&primitive, desc), "primitive");
  library().primitive_desc_destroy(desc);
  return primitive;
}

inline Attributes* make_attributes(const Shape& shape, const MemoryDesc* added) {
  Attributes* attributes;
  PostOps* steps;
  check(library().attributes_create(&attributes), "attributes");
  check(library().attributes_set_scratchpad(attributes, USER_SCRATCHPAD), "scratchpad");
  check(library().post_ops_create(&steps), "post-ops");
  if (shape.extras & 2) check(library().post_ops_append_binary(steps, ADD, added), "sum");
  if (shape.extras & 4) check(library().post_ops_append_sum(steps, 1.f, 0, SAME_TYPE), "sum in place");
  if (shape.activation == 1) check(library().post_ops_append_eltwise(steps, RELU, 0.f, 0.f), "relu");
  if (shape.activation == 2 && !shape.defers_silu()) {
    check(library().post_ops_append_eltwise(steps, SWISH, 1.f, 0.f), "silu");
  }
  check(library().attributes_set_post_ops(attributes, steps), "post-ops");
  return attributes;
}

// Shared: whoever runs primitives takes turns.
inline Buffer scratchpad_buffer;
inline Buffer weights_buffer;

// A primitive with all it needs.
class Convolution {
 public:
  explicit Convolution(const Shape& shape)
      : map_({shape.batch, shape.channels, shape.height, shape.width}, shape.type, NHWC),
        out_({shape.batch, shape.out_channels, shape.out_height, shape.out_width}, shape.out_type, NHWC),
        plain_(plain_weights(shape, Type::FLOAT32, shape.groups > 1 ? GOIHW : OIHW)),
        bias_({shape.out_channels}, Type::FLOAT32, VECTOR) {
    check(library().set_max_concurrency(num_threads()), "number of threads");
    const Operand any = plain_weights(shape, shape.type, ANY), gradient = plain_weights(shape, Type::FLOAT32, ANY);
    const Dims strides = {shape.stride, shape.stride};
    const Dims dilates = {0, 0};
    const int64_t before = shape.kernel / 2;
    const Dims left = {before, before};
    const Dims right = {(shape.out_height - 1) * shape.stride + shape.kernel - shape.height - before,
                        (shape.out_width - 1) * shape.stride + shape.kernel - shape.width - before};
    const Attributes* attributes = make_attributes(shape, out_.desc);
    const int propagation = shape.work == Work::FORWARD ? FORWARD_INFERENCE : FORWARD_TRAINING;
    const MemoryDesc* bias = shape.extras & 1 ? bias_.desc : nullptr;
    PrimitiveDesc* forward;
    check(library().convolution(&forward, engine(), propagation, DIRECT_CONVOLUTION, map_.desc, any.desc, bias,
                                out_.desc, strides, dilates, left, right, attributes),
          "convolution");
    PrimitiveDesc* desc = forward;
    if (shape.work == Work::BACKWARD_INPUT) {
      check(library().convolution_backward_data(&desc, engine(), DIRECT_CONVOLUTION, map_.desc, any.desc, out_.desc,
                                                strides, dilates, left, right, forward, attributes),
            "convolution's gradient by its input");
    } else if (shape.work == Work::BACKWARD_WEIGHTS) {
      check(library().convolution_backward_weights(&desc, engine(), DIRECT_CONVOLUTION, map_.desc, gradient.desc, nullptr,
                                                   out_.desc, strides, dilates, left, right, forward, attributes),
            "convolution's gradient by its weights");
    }
    const bool makes_weights = shape.work == Work::BACKWARD_WEIGHTS;
    packed_ = std::make_unique<Operand>(library().query_desc(desc, makes_weights ? DIFF_WEIGHTS_DESC : WEIGHTS_DESC, 0));
    scratchpad_ = std::make_unique<Operand>(library().query_desc(desc, SCRATCHPAD_DESC, 0));
    if (forward != desc) library().primitive_desc_destroy(forward);
    primitive_ = make_primitive(desc);
    if (!library().memory_desc_equal(packed_->desc, plain_.desc)) {
      const MemoryDesc* from = makes_weights ? packed_->desc : plain_.desc;
      const MemoryDesc* to = makes_weights ? plain_.desc : packed_->desc;
      PrimitiveDesc* reorder;
      check(library().reorder(&reorder, from, engine(), to, engine(), nullptr), "reorder");
      reorder_ = make_primitive(reorder);
    }
  }

  bool packs() const { return reorder_ != nullptr; }
  const MemoryDesc* packed_desc() const { return packed_->desc; }

  // The weights as the primitive wants them, in `buffer` unless they are that already.
  const void* pack(const float* weights, Buffer& buffer) {
    if (reorder_ == nullptr) return weights;
    void* packed = buffer.reserve(packed_->size());
    reorder(plain_.at(weights), packed_->at(packed));
    return packed;
  }

  void forward(const void* map, const void* packed, const float* bias, const void* added, void* out) {
    Argument arguments[6] = {{SOURCE, map_.at(map)}, {WEIGHTS, packed_->at(packed)}, {TARGET, out_.at(out)}};
    int count = 3;
    if (bias != nullptr) arguments[count++] = {BIAS, bias_.at(bias)};
    if (added != nullptr) arguments[count++] = {FIRST_POST_OP_SOURCE, added_at(added)};
    execute(arguments, count);
  }

  void backward_input(const void* diff_out, const void* packed, void* diff_map) {
    Argument arguments[4] = {
        {DIFF_TARGET, out_.at(diff_out)}, {WEIGHTS, packed_->at(packed)}, {DIFF_SOURCE, map_.at(diff_map)}};
    execute(arguments, 3);
  }

  void backward_weights(const void* map, const void* diff_out, float* diff_weights) {
    void* packed = diff_weights;
    if (reorder_ != nullptr) packed = weights_buffer.reserve(packed_->size());
    Argument arguments[4] = {
        {SOURCE, map_.at(map)}, {DIFF_TARGET, out_.at(diff_out)}, {DIFF_WEIGHTS, packed_->at(packed)}};
    execute(arguments, 3);
    if (reorder_ != nullptr) reorder(packed_->at(packed), plain_.at(diff_weights));
  }

 private:
  static Operand plain_weights(const Shape& shape, Type type, Tag tag) {
    const int64_t k = shape.kernel, in = shape.channels / shape.groups;
    if (shape.groups > 1) return Operand({shape.groups, shape.out_channels / shape.groups, in, k, k}, type, tag);
    return Operand({shape.out_channels, in, k, k}, type, tag);
  }

  Memory* added_at(const void* added) {
    if (added_ == nullptr) added_ = std::make_unique<Operand>(out_.desc);
    return added_->at(added);
  }

  // Each of `arguments` has room for one more, the scratchpad.
  void execute(Argument* arguments, int count) {
    arguments[count++] = {SCRATCHPAD, scratchpad_->at(scratchpad_buffer.reserve(scratchpad_->size()))};
    check(library().execute(primitive_, stream(), count, arguments), "execution");
    check(library().stream_wait(stream()), "execution");
  }

  void reorder(Memory* from, Memory* to) {
    const Argument arguments[2] = {{SOURCE, from}, {TARGET, to}};
    check(library().execute(reorder_, stream(), 2, arguments), "reorder");
    check(library().stream_wait(stream()), "reorder");
  }

  Operand map_, out_, plain_, bias_;
  std::unique_ptr<Operand> packed_, scratchpad_, added_;
  Primitive* primitive_ = nullptr;
  Primitive* reorder_ = nullptr;
};

inline Convolution& find_convolution(const Shape& shape) {
  static std::map<Shape, Convolution> made;
  auto found = made.find(shape);
  if (found == made.end()) found = made.emplace(shape, shape).first;
  return found->second;
}

}  // namespace halo
