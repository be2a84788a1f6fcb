/* LD_PRELOAD: what MindSpore learns of its host. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <unistd.h>

/* With fewer processors MindSpore builds other actors, which graphs with `if` do not fit. */
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

/* aclrtProcessReport waits for a device. DryRun's mock returns at once, and a thread calls it in a loop: that alone
   takes more of a processor than all of the compiler. */
int process_report(int milliseconds)
    __asm__("_ZN9mindspore6device6ascend27SimuFuncIaclrtProcessReportIiEET_i");
int process_report(int milliseconds) {
  usleep(10000);
  return 0;
}
