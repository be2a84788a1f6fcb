/* The fixed part of the libraries that stand in for CUDA 11 and cuDNN: one device, whose memory nobody touches. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef unsigned long size;

/* The device. cudaDeviceProp of CUDA 11 by its offsets; what MindSpore does not read stays 0. */
enum { PROPERTIES = 712, CAPABILITY = 8, PROCESSORS = 108 };
static const size MEMORY = 40ul << 30;
int cudaGetDeviceCount(int *count) { *count = 1; return 0; }
int cudaSetDevice(int device) { return 0; }
int cudaGetDeviceProperties(char *properties, int device) {
  static const int limits[] = {1024, 1024, 64, 2147483647, 65535, 65535};  /* of threads in a block, blocks in a grid */
  memset(properties, 0, PROPERTIES);
  strcpy(properties, "stub of compute capability 8.0");
  *(size *)(properties + 288) = MEMORY;
  *(size *)(properties + 296) = 49152;     /* shared memory of a block */
  *(int *)(properties + 304) = 65536;      /* registers of a block */
  *(int *)(properties + 308) = 32;         /* threads of a warp */
  *(int *)(properties + 320) = 1024;       /* threads of a block */
  memcpy(properties + 324, limits, sizeof limits);
  *(int *)(properties + 348) = 1410000;    /* kHz */
  *(size *)(properties + 352) = 65536;     /* constant memory */
  *(int *)(properties + 360) = CAPABILITY;
  *(int *)(properties + 388) = PROCESSORS;
  *(int *)(properties + 624) = 2048;       /* threads of a processor */
  return 0;
}
int cuDeviceGetAttribute(int *value, int attribute, int device) {
  switch (attribute) {
    case 75: *value = CAPABILITY; break;
    case 76: *value = 0; break;
    case 16: *value = PROCESSORS; break;
    case 1: *value = 1024; break;
    case 10: *value = 32; break;
    default: *value = 1;
  }
  return 0;
}

/* Memory of the device is a range of addresses that nothing is written to; what is read from it is zero. */
enum { DEVICE_TO_HOST = 2 };
int cudaMalloc(void **address, size bytes) {
  *address = mmap(0, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return *address == MAP_FAILED ? 2 : 0; /* cudaErrorMemoryAllocation */
}
int cudaFree(void *address) { return 0; }
int cudaHostAlloc(void **address, size bytes, int flags) { *address = calloc(1, bytes); return 0; }
int cudaFreeHost(void *address) { free(address); return 0; }
int cudaMemGetInfo(size *available, size *total) { *available = MEMORY - (1ul << 30); *total = MEMORY; return 0; }
int cudaMemcpy(void *to, const void *from, size bytes, int kind) {
  if (kind == DEVICE_TO_HOST) memset(to, 0, bytes);
  return 0;
}
int cudaMemcpyAsync(void *to, const void *from, size bytes, int kind, void *stream) {
  return cudaMemcpy(to, from, bytes, kind);
}
int cudaMemset(void *address, int value, size bytes) { return 0; }
int cudaMemsetAsync(void *address, int value, size bytes, void *stream) { return 0; }

/* Words and versions. */
const char *cudaGetErrorString(int error) { return "stub"; }
const char *cudaGetErrorName(int error) { return "stub"; }
const char *cudnnGetErrorString(int error) { return "stub"; }
int cuGetErrorName(int error, const char **name) { *name = "stub"; return 0; }
int nvrtcVersion(int *major, int *minor) { *major = 11; *minor = 6; return 0; }
int cudaEventElapsedTime(float *milliseconds, void *start, void *end) { *milliseconds = 0; return 0; }

/* Handles: any address of their own. */
static int make(void **handle) { *handle = calloc(1, 512); return 0; }
int cudaStreamCreate(void **stream) { return make(stream); }
int cudaStreamCreateWithFlags(void **stream, int flags) { return make(stream); }
int cudaStreamCreateWithPriority(void **stream, int flags, int priority) { return make(stream); }
int cudaEventCreate(void **event) { return make(event); }
int cudaEventCreateWithFlags(void **event, int flags) { return make(event); }

/* Descriptors of tensors remember their shape, as MindSpore asks cuDNN for sizes in bytes. */
typedef struct { int type, rank; long shape[8]; } Descriptor;
static size width(int type) {
  static const size widths[] = {4, 8, 2, 1};  /* float, double, half, int8 */
  return type >= 0 && type < 4 ? widths[type] : 4;
}
static int describe(Descriptor *tensor, int type, int rank, const int *shape) {
  tensor->type = type;
  tensor->rank = rank < 8 ? rank : 8;
  for (int i = 0; i < tensor->rank; i++) tensor->shape[i] = shape[i];
  return 0;
}
static int count_bytes(const Descriptor *tensor, size *bytes) {
  *bytes = width(tensor->type);
  for (int i = 0; i < tensor->rank; i++) *bytes *= tensor->shape[i];
  return 0;
}
int cudnnSetTensor4dDescriptor(Descriptor *tensor, int format, int type, int n, int c, int h, int w) {
  const int shape[] = {n, c, h, w};
  return describe(tensor, type, 4, shape);
}
int cudnnSetTensorNdDescriptor(Descriptor *tensor, int type, int rank, const int *shape, const int *strides) {
  return describe(tensor, type, rank, shape);
}
int cudnnSetTensorNdDescriptorEx(Descriptor *tensor, int format, int type, int rank, const int *shape) {
  return describe(tensor, type, rank, shape);
}
int cudnnSetFilter4dDescriptor(Descriptor *filter, int type, int format, int k, int c, int h, int w) {
  const int shape[] = {k, c, h, w};
  return describe(filter, type, 4, shape);
}
int cudnnSetFilterNdDescriptor(Descriptor *filter, int type, int format, int rank, const int *shape) {
  return describe(filter, type, rank, shape);
}
int cudnnGetTensorSizeInBytes(Descriptor *tensor, size *bytes) { return count_bytes(tensor, bytes); }
int cudnnGetFilterSizeInBytes(Descriptor *filter, size *bytes) { return count_bytes(filter, bytes); }

/* cuDNN knows one algorithm for each convolution, and needs no workspace for anything. */
#define ALGORITHM(function) \
  int function(void *h, void *a, void *b, void *c, void *d, int wanted, int *found, char *performance) { \
    *found = 1; \
    memset(performance, 0, 48); \
    return 0; \
  }
ALGORITHM(cudnnFindConvolutionForwardAlgorithm)
ALGORITHM(cudnnFindConvolutionBackwardDataAlgorithm)
ALGORITHM(cudnnFindConvolutionBackwardFilterAlgorithm)
ALGORITHM(cudnnGetConvolutionForwardAlgorithm_v7)
ALGORITHM(cudnnGetConvolutionBackwardDataAlgorithm_v7)
ALGORITHM(cudnnGetConvolutionBackwardFilterAlgorithm_v7)
#define WORKSPACE(function) \
  int function(void *h, void *a, void *b, void *c, void *d, int algorithm, size *bytes) { *bytes = 0; return 0; }
WORKSPACE(cudnnGetConvolutionForwardWorkspaceSize)
WORKSPACE(cudnnGetConvolutionBackwardDataWorkspaceSize)
WORKSPACE(cudnnGetConvolutionBackwardFilterWorkspaceSize)
int cudnnGetReductionWorkspaceSize(void *h, void *r, void *a, void *c, size *bytes) { *bytes = 0; return 0; }
int cudnnGetReductionIndicesSize(void *h, void *r, void *a, void *c, size *bytes) { *bytes = 0; return 0; }
int cudnnDropoutGetStatesSize(void *h, size *bytes) { *bytes = 0; return 0; }
int cudnnGetBatchNormalizationTrainingExReserveSpaceSize(void *h, int m, int o, void *a, void *x, size *bytes) {
  *bytes = 0;
  return 0;
}
int cudnnGetBatchNormalizationForwardTrainingExWorkspaceSize(void *h, int m, int o, void *x, void *z, void *y, void *b,
                                                             void *a, size *bytes) {
  *bytes = 0;
  return 0;
}
int cudnnGetBatchNormalizationBackwardExWorkspaceSize(void *h, int m, int o, void *x, void *y, void *dy, void *dz,
                                                      void *dx, void *b, void *a, size *bytes) {
  *bytes = 0;
  return 0;
}
