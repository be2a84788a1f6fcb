// Activations and their gradients on single numbers, without branches, so that compilers vectorise loops over them.
#pragma once

#include <cstdint>

namespace halo {

enum class Activation : int64_t { NONE, RELU, SILU };

// e^x to the last digit or two: x = n ln 2 + r, and a polynomial for e^r on [-ln 2 / 2, ln 2 / 2].
inline float fast_exp(float x) {
  x = x < -87.f ? -87.f : (x > 88.f ? 88.f : x);
  const float n = __builtin_rintf(x * 1.44269504089f);
  const float r = __builtin_fmaf(n, 2.12194440e-4f, __builtin_fmaf(n, -0.693359375f, x));
  float p = 1.9875691500e-4f;
  p = __builtin_fmaf(p, r, 1.3981999507e-3f);
  p = __builtin_fmaf(p, r, 8.3334519073e-3f);
  p = __builtin_fmaf(p, r, 4.1665795894e-2f);
  p = __builtin_fmaf(p, r, 1.6666665459e-1f);
  p = __builtin_fmaf(p, r, 5.0000001201e-1f);
  p = __builtin_fmaf(p, r * r, r + 1.f);
  const int32_t power = (static_cast<int32_t>(n) + 127) << 23;
  return p * __builtin_bit_cast(float, power);
}

inline float sigmoid(float x) { return 1.f / (1.f + fast_exp(-x)); }

template <Activation activation>
inline float activate(float x) {
  if constexpr (activation == Activation::RELU) return x < 0.f ? 0.f : x;  // what is no number stays none
  if constexpr (activation == Activation::SILU) return x * sigmoid(x);
  return x;
}

template <Activation activation>
inline float activation_slope(float x) {
  if constexpr (activation == Activation::RELU) return x > 0.f ? 1.f : 0.f;
  if constexpr (activation == Activation::SILU) {
    const float gate = sigmoid(x);
    return gate * (1.f + x * (1.f - gate));
  }
  return 1.f;
}

// Calls body(std::integral_constant-like tag) for the activation that a number stands for.
template <Activation value>
struct ActivationTag {
  static constexpr Activation activation = value;
};

template <typename Body>
void with_activation(int64_t number, const Body& body) {
  switch (static_cast<Activation>(number)) {
    case Activation::RELU:
      return body(ActivationTag<Activation::RELU>());
    case Activation::SILU:
      return body(ActivationTag<Activation::SILU>());
    default:
      return body(ActivationTag<Activation::NONE>());
  }
}

}  // namespace halo
