//go:build linux && cgo && (amd64 || arm64)

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"

// As the driver's is opened, and not by the same code: a build does not see that a header in another folder has changed.
rt_nvml *rt_nvml_open(const char *path, char *why, size_t size) {
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		snprintf(why, size, "%s", dlerror());
		return NULL;
	}
	rt_nvml *t = calloc(1, sizeof *t);
	int bad = t == NULL;
	size_t n = snprintf(why, size, "%s lacks", path);
	if (!bad) {
#define X(name, required, parameters) \
	*(void **)&t->name = dlsym(library, #name); \
	if (required && !t->name) { \
		bad = 1; \
		if (n < size) \
			n += snprintf(why + n, size - n, " %s", #name); \
	}
		RT_NVML(X)
#undef X
	}
	if (bad) {
		free(t);
		dlclose(library);
		return NULL;
	}
	return t;
}

// rt_nvml_call runs one function. a holds the arguments and takes the results, from a[0] on; text of size bytes takes text.
int rt_nvml_call(const rt_nvml *l, int function, uint64_t *a, char *text, unsigned size) {
	if (function < 0 || function >= rt_functions || !((void *const *)l)[function])
		return 13; // NVML_ERROR_FUNCTION_NOT_FOUND
	nvmlDevice_t device = (nvmlDevice_t)(uintptr_t)a[0], other = NULL;
	unsigned link = (unsigned)a[1], n = 0, m = 0;
	nvmlEnableState_t state = 0;
	nvmlIntNvLinkDeviceType_t type = 0;
	nvmlPciInfo_t pci;
	memset(&pci, 0, sizeof pci);
	int major = 0, minor = 0, r;
#define OUT(value) ((a[0] = (uint64_t)(uintptr_t)(value)), r)
	switch (function) {
	case rt_nvmlInit_v2: return l->nvmlInit_v2();
	case rt_nvmlShutdown: return l->nvmlShutdown();
	case rt_nvmlErrorString: {
		const char *s = ((const char *(*)(int))(void *)l->nvmlErrorString)((int)a[0]);
		snprintf(text, size, "%s", s ? s : "");
		return 0;
	}
	case rt_nvmlSystemGetDriverVersion: return l->nvmlSystemGetDriverVersion(text, size);
	case rt_nvmlDeviceGetCount_v2: r = l->nvmlDeviceGetCount_v2(&n); return OUT(n);
	case rt_nvmlDeviceGetHandleByIndex_v2: r = l->nvmlDeviceGetHandleByIndex_v2((unsigned)a[0], &other); return OUT(other);
	case rt_nvmlDeviceGetName: return l->nvmlDeviceGetName(device, text, size);
	case rt_nvmlDeviceGetUUID: return l->nvmlDeviceGetUUID(device, text, size);
	case rt_nvmlDeviceGetPciInfo_v3: r = l->nvmlDeviceGetPciInfo_v3(device, &pci); break;
	case rt_nvmlDeviceGetCudaComputeCapability: r = l->nvmlDeviceGetCudaComputeCapability(device, &major, &minor); a[1] = (uint64_t)minor; return OUT(major);
	case rt_nvmlDeviceGetNvLinkState: r = l->nvmlDeviceGetNvLinkState(device, link, &state); return OUT(state);
	case rt_nvmlDeviceGetNvLinkVersion: r = l->nvmlDeviceGetNvLinkVersion(device, link, &n); return OUT(n);
	case rt_nvmlDeviceGetNvLinkRemotePciInfo_v2: r = l->nvmlDeviceGetNvLinkRemotePciInfo_v2(device, link, &pci); break;
	case rt_nvmlDeviceGetNvLinkRemoteDeviceType: r = l->nvmlDeviceGetNvLinkRemoteDeviceType(device, link, &type); return OUT(type);
	case rt_nvmlDeviceGetMigMode: r = l->nvmlDeviceGetMigMode(device, &n, &m); return OUT(n);
	case rt_nvmlDeviceGetMaxMigDeviceCount: r = l->nvmlDeviceGetMaxMigDeviceCount(device, &n); return OUT(n);
	case rt_nvmlDeviceGetMigDeviceHandleByIndex: r = l->nvmlDeviceGetMigDeviceHandleByIndex(device, link, &other); return OUT(other);
	default: return 13;
	}
	// Only the text has the function of the device.
	pci.busId[sizeof pci.busId - 1] = 0;
	snprintf(text, size, "%s", pci.busId);
	return r;
}
