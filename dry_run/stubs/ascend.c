/* The fixed part of the libraries that stand in for CANN: what must be more than a function that returns 0. */
#include <string.h>

static void nothing(void *object) {}

/* C++ objects of ge: an operator begins with the address of its table of virtual functions, here the destructors. */
static void *operator_table[] = {0, 0, nothing, nothing, nothing, nothing};
static void *clear(void *object, int size) { return memset(object, 0, size); }
static void *make_operator(void *object) {
  clear(object, 24);
  *(void **)object = operator_table + 2;
  return object;
}

/* An empty std::string of the ABI that CANN is compiled with, whose empty representation libstdc++ holds. */
extern char _ZNSs4_Rep20_S_empty_rep_storageE[];
static void *make_text(void *object) {
  *(void **)object = _ZNSs4_Rep20_S_empty_rep_storageE + 24;
  return object;
}

/* An empty std::map: its header's left and right neighbours are itself. It serves wherever any address does, too. */
static char map[64];
static void *find_errors(void) {
  void **header = (void **)map;
  if (!header[3]) header[3] = header[4] = header + 1;
  return map;
}

/* The fields version, major, minor, release and patch, at the places where aclCANNPackageVersion has them. */
int aclsysGetCANNVersion(int package, char *version) {
  strcpy(version, "8.5.0");
  strcpy(version + 128, "8");
  strcpy(version + 192, "5");
  strcpy(version + 256, "0");
  strcpy(version + 320, "0");
  return 0;
}

const char *aclrtGetSocName(void) { return "Ascend910B2"; }
