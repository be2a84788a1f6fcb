// Convolutions on channels-last maps, computed by oneDNN: (B, H, W, C) -> (B, H', W', O). Weights stay (O, C / groups,
// k, k) as everywhere in MindSpore; oneDNN reorders them for each call, or once where they are frozen, and rounds them
// where maps are bfloat16. Bias and gradients of weights are float32 with both.
#include <algorithm>
#include <cstring>
#include <initializer_list>
#include <map>
#include <memory>
#include <mutex>
#include <tuple>
#include <utility>
#include <vector>

#include "buffer.hpp"
#include "kernel.hpp"
#include "onednn.hpp"
#include "pointwise_bfloat16.hpp"
#include "threads.hpp"
#include "vector_bfloat16.hpp"

namespace halo {
namespace {

using namespace onednn;

enum class Work : int64_t { FORWARD, BACKWARD_INPUT, BACKWARD_WEIGHTS };

// Everything that decides on a primitive; the settings' first four numbers are the last four here.
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

Primitive* make_primitive(PrimitiveDesc* desc) {
  Primitive* primitive;
  check(library().primitive_create(&primitive, desc), "primitive");
  library().primitive_desc_destroy(desc);
  return primitive;
}

Attributes* make_attributes(const Shape& shape, const MemoryDesc* added) {
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

// In place. oneDNN's own, at the end of a convolution, takes four times as long as this.
void apply_silu(bfloat16* map, int64_t size) {
#if defined(HALO_BFLOAT16)
  constexpr int64_t STEP = 16;
  parallel_ranges((size + STEP - 1) / STEP, [&](int, int64_t begin, int64_t end) {
    for (int64_t i = begin * STEP; i < std::min(size, end * STEP); i += STEP) {
      const __mmask16 lanes = lanes_below(size - i);
      store_bfloat16(map + i, short_silu(load_bfloat16(map + i, lanes)), lanes);
    }
  });
#endif
}

constexpr int64_t SAMPLES = 256;

Buffer scratchpad_buffer;
Buffer weights_buffer;

// A primitive of oneDNN with all it needs, made once for each shape and kept.
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

std::mutex turn;  // MindSpore may run kernels at once; the primitives' memories and the buffers are shared

Convolution& find_convolution(const Shape& shape) {
  static std::map<Shape, Convolution> made;
  auto found = made.find(shape);
  if (found == made.end()) found = made.emplace(shape, shape).first;
  return found->second;
}

// Weights of a network that is only for inference, as primitives want them: shapes that want the same share it.
struct Frozen {
  const float* plain = nullptr;
  std::vector<float> samples;  // of the weights that were packed
  std::vector<std::pair<const MemoryDesc*, Buffer>> forms;

  // Weights that lie elsewhere now, or have other numbers at SAMPLES places, are packed again: others were loaded, or a
  // compiled graph out of MindSpore's cache brings the number of another process. To compare all of them at each call
  // would take a twentieth of the network's time.
  // `desc` is how they are packed, none for multiply_pixels; `pack` fills a buffer that it is given, or finds nothing to
  // do and returns the weights themselves.
  template <typename Pack>
  const void* find(const MemoryDesc* desc, const float* weights, int64_t size, const Pack& pack) {
    std::vector<float> now(std::min(SAMPLES, size));
    const int64_t count = static_cast<int64_t>(now.size());
    for (int64_t i = 0; i < count; ++i) now[i] = weights[i * (size - 1) / std::max<int64_t>(1, count - 1)];
    if (weights != plain || std::memcmp(now.data(), samples.data(), count * sizeof(float)) != 0) {
      forms.clear();
      plain = weights;
      samples = std::move(now);
    }
    for (auto& [form, buffer] : forms) {
      const bool is_same = form == nullptr || desc == nullptr ? form == desc : library().memory_desc_equal(form, desc);
      if (is_same) return buffer.data();
    }
    Buffer buffer;
    const void* packed = pack(buffer);
    forms.emplace_back(desc, std::move(buffer));
    return packed;
  }
};

// By the number that `settings` give them.
std::map<int64_t, Frozen>& frozen_weights() {
  static auto* weights = new std::map<int64_t, Frozen>;
  return *weights;
}

// `settings` are stride, groups, activation, extras, number of the frozen weights or 0.
Shape read_shape(Work work, const Arguments& args, int map, int weights, int out, int settings_index) {
  args.expect_map(map);
  args.expect_map(weights);
  args.floats(weights);
  args.expect_size(settings_index, 5);
  const int64_t* settings = args.settings(settings_index);
  const int64_t stride = settings[0], groups = settings[1], kernel = args.side(weights, 2);
  if (stride < 1 || groups < 1 || settings[2] < 0 || settings[2] > 2 || kernel % 2 == 0) {
    throw std::length_error("settings are out of their range");
  }
  args.expect(weights, {args.side(weights, 0), args.side(map, 3) / groups, kernel, kernel});
  if (args.side(map, 3) % groups || args.side(weights, 0) % groups) throw std::length_error("groups do not divide the channels");
  args.expect(out, {args.side(map, 0), (args.side(map, 1) + stride - 1) / stride,
                    (args.side(map, 2) + stride - 1) / stride, args.side(weights, 0)});
  return Shape{work,
               args.side(map, 0),
               args.side(map, 1),
               args.side(map, 2),
               args.side(map, 3),
               args.side(out, 1),
               args.side(out, 2),
               args.side(out, 3),
               kernel,
               settings[0],
               settings[1],
               settings[2],
               settings[3],
               args.type(map),
               args.type(out)};
}

void run_pointwise(const Arguments& args, const Shape& shape, int64_t frozen_number) {
  const Pointwise pointwise = {shape.batch,     shape.height,       shape.width,  shape.channels,  shape.out_height,
                               shape.out_width, shape.out_channels, shape.stride, shape.activation};
  const float* weights = args.floats(1);
  const auto pack = [&](Buffer& buffer) {
    auto* packed = static_cast<uint32_t*>(buffer.reserve(count_packed(pointwise) * sizeof(uint32_t)));
    pack_weights(pointwise, weights, packed);
    return packed;
  };
  const void* packed = frozen_number != 0 ? frozen_weights()[frozen_number].find(nullptr, weights, args.size(1), pack)
                                          : pack(weights_buffer);
  multiply_pixels(pointwise, args.elements<bfloat16>(0), static_cast<const uint32_t*>(packed),
                  shape.extras & 1 ? args.floats(2) : nullptr, shape.extras & 6 ? args.elements<bfloat16>(3) : nullptr,
                  args.elements<bfloat16>(5));
}

}  // namespace
}  // namespace halo

using namespace halo;

// map (B, H, W, C), weights, bias (O,), added (B, H', W', O), settings -> out (B, H', W', O)
HALO_KERNEL(convolution) {
  args.expect_count(6);
  Shape shape = read_shape(Work::FORWARD, args, 0, 1, 5, 4);
  const int64_t* settings = args.settings(4);
  if (shape.extras & 1) args.expect(2, {shape.out_channels});
  if (shape.extras & 2) args.expect_same(3, 5);
  if (shape.extras & 2 && args.type(3) != shape.out_type) throw std::invalid_argument("maps are of two types");
  if (shape.extras & 2 && args.data(3) == args.data(5)) shape.extras += 2;  // in place, which oneDNN does much faster
  std::lock_guard<std::mutex> lock(turn);
  if (shape.is_pointwise()) return run_pointwise(args, shape, settings[4]);
  Convolution& convolution = find_convolution(shape);
  const float* weights = args.floats(1);
  const auto pack = [&](Buffer& buffer) { return convolution.pack(weights, buffer); };
  const bool is_frozen = settings[4] != 0 && convolution.packs();
  const void* packed = is_frozen
                           ? frozen_weights()[settings[4]].find(convolution.packed_desc(), weights, args.size(1), pack)
                           : pack(weights_buffer);
  convolution.forward(args.data(0), packed, shape.extras & 1 ? args.floats(2) : nullptr,
                      shape.extras & 2 ? args.data(3) : nullptr, args.data(5));
  if (shape.defers_silu()) apply_silu(args.elements<bfloat16>(5), args.size(5));
}

// out's gradient (B, H', W', O), weights, map (B, H, W, C), settings -> map's gradient
HALO_KERNEL(convolution_backward_input) {
  args.expect_count(5);
  const Shape shape = read_shape(Work::BACKWARD_INPUT, args, 2, 1, 0, 3);
  args.expect_same(4, 2);
  std::lock_guard<std::mutex> lock(turn);
  Convolution& convolution = find_convolution(shape);
  if (args.type(4) != shape.type || args.type(0) != shape.type) throw std::invalid_argument("maps are of two types");
  convolution.backward_input(args.data(0), convolution.pack(args.floats(1), weights_buffer), args.data(4));
}

// out's gradient (B, H', W', O), map (B, H, W, C), weights, settings -> weights' gradient
HALO_KERNEL(convolution_backward_weights) {
  args.expect_count(5);
  const Shape shape = read_shape(Work::BACKWARD_WEIGHTS, args, 1, 2, 0, 3);
  args.expect_same(4, 2);
  std::lock_guard<std::mutex> lock(turn);
  if (args.type(0) != shape.type) throw std::invalid_argument("maps are of two types");
  find_convolution(shape).backward_weights(args.data(1), args.data(0), args.floats(4));
}

// Called from Python when a frozen network is gone.
extern "C" void forget_frozen(int64_t number) {
  std::lock_guard<std::mutex> lock(turn);
  frozen_weights().erase(number);
}
