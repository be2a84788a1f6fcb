#include "tile_product.hpp"

#if defined(__AMX_BF16__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace {

bool forbidden = false;

bool ask_for_tiles() {
#if defined(HALO_BFLOAT16) && defined(__AMX_BF16__) && defined(__linux__)
  constexpr long REQUEST_PERMISSION = 0x1023, TILE_DATA = 18;  // of arch_prctl
  static const bool allowed = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
  return allowed;
#else
  return false;
#endif
}

}  // namespace

#if defined(HALO_BFLOAT16)
bool halo::may_use_tiles() { return !forbidden && ask_for_tiles(); }
#endif

// What products of bfloat16 run on: 2 for AMX, 1 for AVX-512 BF16, 0 where there is neither.
extern "C" int bfloat16_instructions() {
#if defined(HALO_BFLOAT16)
  return halo::may_use_tiles() ? 2 : 1;
#else
  return 0;
#endif
}

// For tests of what runs where there are none, between two calls of kernels.
extern "C" void forbid_tiles(int value) { forbidden = value != 0; }
