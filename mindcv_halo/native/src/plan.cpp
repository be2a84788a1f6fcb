// Runs a list of kernels as one operator; plan.py says what the list looks like.
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "buffer.hpp"
#include "kernel.hpp"

namespace {

enum Place : int64_t { PARAMETER, ARENA, CONSTANT, RESULT };
constexpr int64_t SLOT = 64;  // bytes: the arena is measured in lines of the cache
constexpr const char* NAMES[] = {"float32", "bfloat16", "int64"};  // by halo::Type
constexpr int64_t BYTES[] = {4, 2, 8};

std::mutex turn;  // networks share the arena
halo::Buffer arena;

}  // namespace

// The number by which a plan names a kernel, or -1.
extern "C" int number_kernel(const char* name) {
  int number = 0;
  for (const halo::Entry& entry : halo::kernels()) {
    if (std::strcmp(entry.name, name) == 0) return number;
    ++number;
  }
  return -1;
}

extern "C" const char* read_refusal() { return halo::refusal().c_str(); }

// images, parameters ..., plan -> the plan's result
HALO_KERNEL(run_plan) {
  const int images = 0, numbers = args.count() - 2, result = args.count() - 1;
  if (numbers <= images) throw std::length_error("takes images, parameters and a plan");
  const int64_t* plan = args.settings(numbers);
  const int64_t* constants = plan + plan[0];
  std::lock_guard<std::mutex> lock(turn);
  char* maps = static_cast<char*>(arena.reserve(plan[1] * SLOT));
  const int64_t* next = plan + 3;
  std::vector<void*> params;
  std::vector<int> ndims;
  std::vector<int64_t*> shapes;
  std::vector<const char*> types;
  for (int64_t step = 0; step < plan[2]; ++step) {
    const auto& kernels = halo::kernels();
    if (next[0] < 0 || next[0] >= static_cast<int64_t>(kernels.size())) throw std::length_error("no such kernel");
    const halo::Entry& entry = kernels[next[0]];
    const int64_t count = next[1];
    next += 2;
    params.clear();
    ndims.clear();
    shapes.clear();
    types.clear();
    for (int64_t i = 0; i < count; ++i) {
      const int64_t place = next[0], index = next[1], start = next[2], type = next[3];
      if (type < 0 || type > 2) throw std::length_error("no such type");
      int64_t size = 1;
      for (int64_t axis = 0; axis < next[4]; ++axis) size *= next[5 + axis];
      if (place == PARAMETER) {
        if (index < 0 || index >= numbers) throw std::length_error("the plan names more parameters than there are");
        if (index == images) args.expect_size(images, size);
        if (start < 0 || start + size > args.size(static_cast<int>(index))) {
          throw std::length_error("a parameter is smaller than planned");
        }
        if (args.type(static_cast<int>(index)) != halo::Type{type}) throw std::invalid_argument("a parameter is of another type than planned");
        params.push_back(static_cast<char*>(args.data(static_cast<int>(index))) + start * BYTES[type]);
      } else if (place == ARENA) {
        if (index < 0 || index * SLOT + size * BYTES[type] > plan[1] * SLOT) {
          throw std::length_error("the plan's maps are larger than its arena");
        }
        params.push_back(maps + index * SLOT);
      } else if (place == RESULT) {
        args.expect_size(result, size);
        if (args.type(result) != halo::Type{type}) throw std::invalid_argument("the result is of another type than planned");
        params.push_back(args.data(result));
      } else {
        if (index < 0 || plan[0] + index >= args.size(numbers)) throw std::length_error("the plan lacks its constants");
        params.push_back(const_cast<int64_t*>(constants + index));
      }
      types.push_back(NAMES[type]);
      ndims.push_back(static_cast<int>(next[4]));
      shapes.push_back(const_cast<int64_t*>(next + 5));
      next += 5 + next[4];
    }
    if (entry.run(static_cast<int>(count), params.data(), ndims.data(), shapes.data(), types.data(), nullptr, nullptr)) {
      throw std::runtime_error(halo::refusal());
    }
  }
}
