/* A stand-in for NVIDIA's driver library, as far as the doctor asks it. The environment says how it behaves:
   STANDIN_CUDA (12080), STANDIN_INIT (error code of cuInit), STANDIN_HANG, STANDIN_CRASH, STANDIN_NAME,
   STANDIN_TOTAL and STANDIN_FREE (bytes; without STANDIN_FREE there is no context), STANDIN_CAPABILITY (90). */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

int cuDriverGetVersion(int *version) {
    *version = (int)number("STANDIN_CUDA", 12080);
    return 0;
}

int cuInit(unsigned flags) {
    (void)flags;
    if (number("STANDIN_HANG", 0)) sleep(120);
    if (number("STANDIN_CRASH", 0)) abort();
    return (int)number("STANDIN_INIT", 0);
}

int cuDeviceGetCount(int *count) {
    *count = (int)number("STANDIN_COUNT", 1);
    return 0;
}

int cuDeviceGet(int *device, int index) {
    *device = index;
    return 0;
}

int cuDeviceGetName(char *name, int size, int device) {
    (void)device;
    const char *text = getenv("STANDIN_NAME");
    strncpy(name, text ? text : "NVIDIA Stand-in", (size_t)size - 1);
    return 0;
}

int cuDeviceTotalMem_v2(size_t *total, int device) {
    (void)device;
    *total = (size_t)number("STANDIN_TOTAL", 85520809984);
    return 0;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    (void)device;
    int capability = (int)number("STANDIN_CAPABILITY", 90);
    *value = attribute == 75 ? capability / 10 : capability % 10;
    return 0;
}

int cuDevicePrimaryCtxRetain(void **context, int device) {
    (void)device;
    *context = NULL;
    return getenv("STANDIN_FREE") ? 0 : 2;
}

int cuCtxSetCurrent(void *context) {
    (void)context;
    return 0;
}

int cuMemGetInfo_v2(size_t *free_bytes, size_t *total) {
    *free_bytes = (size_t)number("STANDIN_FREE", 0);
    *total = (size_t)number("STANDIN_TOTAL", 85520809984);
    return 0;
}
