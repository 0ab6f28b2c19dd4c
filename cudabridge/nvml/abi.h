// The part of NVIDIA's management library that this package uses, declared by hand from its public documentation. Where nvml.h
// is at hand a test compares every line with it.
#ifndef RINGTREE_NVML_ABI_H
#define RINGTREE_NVML_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifndef RINGTREE_WITH_NVML_H
typedef int nvmlReturn_t;
typedef struct nvmlDevice_st *nvmlDevice_t;
typedef unsigned int nvmlEnableState_t;
typedef unsigned int nvmlIntNvLinkDeviceType_t;
typedef struct {
	char busIdLegacy[16];
	unsigned int domain, bus, device, pciDeviceId, pciSubSystemId;
	char busId[32];
} nvmlPciInfo_t;
#endif

// RT_NVML lists the functions: name with its version, whether the package needs it, parameters. Their order is that of the
// constants in calls.go.
#define RT_NVML(X) \
	X(nvmlInit_v2, 1, (void)) \
	X(nvmlShutdown, 1, (void)) \
	X(nvmlErrorString, 1, (nvmlReturn_t)) \
	X(nvmlSystemGetDriverVersion, 1, (char *, unsigned int)) \
	X(nvmlDeviceGetCount_v2, 1, (unsigned int *)) \
	X(nvmlDeviceGetHandleByIndex_v2, 1, (unsigned int, nvmlDevice_t *)) \
	X(nvmlDeviceGetName, 1, (nvmlDevice_t, char *, unsigned int)) \
	X(nvmlDeviceGetUUID, 1, (nvmlDevice_t, char *, unsigned int)) \
	X(nvmlDeviceGetPciInfo_v3, 1, (nvmlDevice_t, nvmlPciInfo_t *)) \
	X(nvmlDeviceGetCudaComputeCapability, 1, (nvmlDevice_t, int *, int *)) \
	X(nvmlDeviceGetNvLinkState, 1, (nvmlDevice_t, unsigned int, nvmlEnableState_t *)) \
	X(nvmlDeviceGetNvLinkVersion, 1, (nvmlDevice_t, unsigned int, unsigned int *)) \
	X(nvmlDeviceGetNvLinkRemotePciInfo_v2, 1, (nvmlDevice_t, unsigned int, nvmlPciInfo_t *)) \
	X(nvmlDeviceGetNvLinkRemoteDeviceType, 0, (nvmlDevice_t, unsigned int, nvmlIntNvLinkDeviceType_t *)) \
	X(nvmlDeviceGetMigMode, 0, (nvmlDevice_t, unsigned int *, unsigned int *)) \
	X(nvmlDeviceGetMaxMigDeviceCount, 0, (nvmlDevice_t, unsigned int *)) \
	X(nvmlDeviceGetMigDeviceHandleByIndex, 0, (nvmlDevice_t, unsigned int, nvmlDevice_t *))

typedef struct rt_nvml {
#define X(name, required, parameters) nvmlReturn_t (*name) parameters;
	RT_NVML(X)
#undef X
} rt_nvml;

// The numbers of the functions.
enum {
#define X(name, required, parameters) rt_##name,
	RT_NVML(X)
#undef X
	rt_functions
};

#endif
