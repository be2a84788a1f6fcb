/* LD_PRELOAD: a host of 16 processors. With fewer MindSpore builds other actors, which graphs with `if` do not fit. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

enum { PROCESSORS = 16 };

long sysconf(int name) {
  static long (*real)(int);
  if (name == _SC_NPROCESSORS_ONLN || name == _SC_NPROCESSORS_CONF) return PROCESSORS;
  if (!real) real = (long (*)(int))dlsym(RTLD_NEXT, "sysconf");
  return real(name);
}
int get_nprocs(void) { return PROCESSORS; }
int get_nprocs_conf(void) { return PROCESSORS; }
unsigned hardware_concurrency(void) __asm__("_ZNSt6thread20hardware_concurrencyEv");
unsigned hardware_concurrency(void) { return PROCESSORS; }
