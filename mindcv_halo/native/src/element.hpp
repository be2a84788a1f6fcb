// The numbers that maps are stored in: float32, or bfloat16, which is its upper half. Sums are always of float32.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace halo {

enum class Type : int64_t { FLOAT32, BFLOAT16, INT64 };

struct bfloat16 {
  uint16_t bits;

  bfloat16() = default;
  // To the nearest, and of two as near to the even one, as processors do it; what is no number stays none.
  explicit bfloat16(float value) {
    const uint32_t whole = __builtin_bit_cast(uint32_t, value);
    const uint32_t rounded = (whole + 0x7fff + ((whole >> 16) & 1)) >> 16;
    bits = static_cast<uint16_t>(value != value ? 0x7fc0 : rounded);
  }
  operator float() const { return __builtin_bit_cast(float, static_cast<uint32_t>(bits) << 16); }
};

template <typename Element>
constexpr Type type_of = Type::FLOAT32;
template <>
inline constexpr Type type_of<bfloat16> = Type::BFLOAT16;
template <>
inline constexpr Type type_of<int64_t> = Type::INT64;

inline Type read_type(const std::string& name) {
  if (name == "float32") return Type::FLOAT32;
  if (name == "bfloat16") return Type::BFLOAT16;
  if (name == "int64") return Type::INT64;
  throw std::invalid_argument("takes float32 or bfloat16, and got " + name);
}

template <typename Element>
struct ElementTag {
  using type = Element;
};

// Calls body(tag) with the element that a map of this type has.
template <typename Body>
void with_element(Type type, const Body& body) {
  type == Type::BFLOAT16 ? body(ElementTag<bfloat16>()) : body(ElementTag<float>());
}

}  // namespace halo
