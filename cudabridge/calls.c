//go:build linux && cgo && (amd64 || arm64)

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"

rt_cuda *rt_cuda_open(const char *path, char *why, size_t size) {
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
	if (!library) {
		snprintf(why, size, "%s", dlerror());
		return NULL;
	}
	rt_cuda *t = calloc(1, sizeof *t);
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
		RT_CUDA(X)
#undef X
	}
	if (bad) {
		free(t);
		dlclose(library);
		return NULL;
	}
	return t;
}

#define P(type, i) ((type)(uintptr_t)a[i])

// call runs one function. Results go back into a, from a[0] on.
static CUresult call(const rt_cuda *l, int function, uint64_t *a, void *text) {
	CUresult r;
	int n = 0;
	size_t size = 0, total = 0;
	CUdeviceptr p = 0;
	void *handle = NULL;
#define OUT(value) ((a[0] = (uint64_t)(uintptr_t)(value)), r)
	switch (function) {
	case rt_cuInit: return l->cuInit(0);
	case rt_cuDriverGetVersion: r = l->cuDriverGetVersion(&n); return OUT(n);
	case rt_cuGetErrorName:
	case rt_cuGetErrorString: {
		const char *s = NULL;
		r = function == rt_cuGetErrorName ? l->cuGetErrorName((CUresult)a[0], &s) : l->cuGetErrorString((CUresult)a[0], &s);
		if (r == 0 && s)
			strncpy(text, s, a[1] - 1);
		return r;
	}
	case rt_cuDeviceGetCount: r = l->cuDeviceGetCount(&n); return OUT(n);
	case rt_cuDeviceGet: { CUdevice d = 0; r = l->cuDeviceGet(&d, (int)a[0]); return OUT(d); }
	case rt_cuDeviceGetName: return l->cuDeviceGetName(text, (int)a[1], (CUdevice)a[0]);
	case rt_cuDeviceGetUuid: return l->cuDeviceGetUuid(text, (CUdevice)a[0]);
	case rt_cuDeviceGetPCIBusId: return l->cuDeviceGetPCIBusId(text, (int)a[1], (CUdevice)a[0]);
	case rt_cuDeviceGetAttribute: r = l->cuDeviceGetAttribute(&n, (CUdevice_attribute)a[0], (CUdevice)a[1]); return OUT(n);
	case rt_cuDeviceTotalMem_v2: r = l->cuDeviceTotalMem_v2(&size, (CUdevice)a[0]); return OUT(size);
	case rt_cuDeviceCanAccessPeer: r = l->cuDeviceCanAccessPeer(&n, (CUdevice)a[0], (CUdevice)a[1]); return OUT(n);
	case rt_cuDevicePrimaryCtxRetain: r = l->cuDevicePrimaryCtxRetain((CUcontext *)&handle, (CUdevice)a[0]); return OUT(handle);
	case rt_cuDevicePrimaryCtxRelease_v2: return l->cuDevicePrimaryCtxRelease_v2((CUdevice)a[0]);
	case rt_cuCtxEnablePeerAccess: return l->cuCtxEnablePeerAccess(P(CUcontext, 0), 0);
	case rt_cuMemGetInfo_v2: r = l->cuMemGetInfo_v2(&size, &total); a[1] = total; return OUT(size);
	case rt_cuMemAlloc_v2: r = l->cuMemAlloc_v2(&p, a[0]); return OUT(p);
	case rt_cuMemFree_v2: return l->cuMemFree_v2(a[0]);
	case rt_cuMemAllocAsync: r = l->cuMemAllocAsync(&p, a[0], P(CUstream, 1)); return OUT(p);
	case rt_cuMemFreeAsync: return l->cuMemFreeAsync(a[0], P(CUstream, 1));
	case rt_cuMemHostAlloc: r = l->cuMemHostAlloc(&handle, a[0], (unsigned)a[1]); return OUT(handle);
	case rt_cuMemFreeHost: return l->cuMemFreeHost(P(void *, 0));
	case rt_cuMemcpyAsync: return l->cuMemcpyAsync(a[0], a[1], a[2], P(CUstream, 3));
	case rt_cuMemcpyHtoDAsync_v2: return l->cuMemcpyHtoDAsync_v2(a[0], P(void *, 1), a[2], P(CUstream, 3));
	case rt_cuMemcpyDtoHAsync_v2: return l->cuMemcpyDtoHAsync_v2(P(void *, 0), a[1], a[2], P(CUstream, 3));
	case rt_cuMemcpyPeerAsync: return l->cuMemcpyPeerAsync(a[0], P(CUcontext, 1), a[2], P(CUcontext, 3), a[4], P(CUstream, 5));
	case rt_cuMemsetD8Async: return l->cuMemsetD8Async(a[0], (unsigned char)a[1], a[2], P(CUstream, 3));
	case rt_cuStreamCreateWithPriority: r = l->cuStreamCreateWithPriority((CUstream *)&handle, (unsigned)a[0], (int)a[1]); return OUT(handle);
	case rt_cuStreamDestroy_v2: return l->cuStreamDestroy_v2(P(CUstream, 0));
	case rt_cuStreamSynchronize: return l->cuStreamSynchronize(P(CUstream, 0));
	case rt_cuStreamQuery: return l->cuStreamQuery(P(CUstream, 0));
	case rt_cuStreamWaitEvent: return l->cuStreamWaitEvent(P(CUstream, 0), P(CUevent, 1), 0);
	case rt_cuStreamWaitValue32_v2: return l->cuStreamWaitValue32_v2(P(CUstream, 0), a[1], (cuuint32_t)a[2], (unsigned)a[3]);
	case rt_cuEventCreate: r = l->cuEventCreate((CUevent *)&handle, (unsigned)a[0]); return OUT(handle);
	case rt_cuEventDestroy_v2: return l->cuEventDestroy_v2(P(CUevent, 0));
	case rt_cuEventRecord: return l->cuEventRecord(P(CUevent, 0), P(CUstream, 1));
	case rt_cuEventQuery: return l->cuEventQuery(P(CUevent, 0));
	case rt_cuEventSynchronize: return l->cuEventSynchronize(P(CUevent, 0));
	case rt_cuIpcGetMemHandle: return l->cuIpcGetMemHandle(text, a[0]);
	case rt_cuIpcOpenMemHandle_v2: {
		CUipcMemHandle h;
		memcpy(&h, text, sizeof h);
		r = l->cuIpcOpenMemHandle_v2(&p, h, (unsigned)a[0]);
		return OUT(p);
	}
	case rt_cuIpcCloseMemHandle: return l->cuIpcCloseMemHandle(a[0]);
	case rt_cuIpcGetEventHandle: return l->cuIpcGetEventHandle(text, P(CUevent, 0));
	case rt_cuIpcOpenEventHandle: {
		CUipcEventHandle h;
		memcpy(&h, text, sizeof h);
		r = l->cuIpcOpenEventHandle((CUevent *)&handle, h);
		return OUT(handle);
	}
	case rt_cuModuleLoadDataEx: r = l->cuModuleLoadDataEx((CUmodule *)&handle, text, 0, NULL, NULL); return OUT(handle);
	case rt_cuModuleGetFunction: r = l->cuModuleGetFunction((CUfunction *)&handle, P(CUmodule, 0), text); return OUT(handle);
	case rt_cuModuleUnload: return l->cuModuleUnload(P(CUmodule, 0));
	case rt_cuLaunchKernel: {
		// function, blocks x and y, threads, stream, number of parameters, and from text on the parameters, 8 bytes each
		void *parameters[32];
		for (uint64_t i = 0; i < a[5] && i < 32; i++)
			parameters[i] = (char *)text + 8 * i;
		return l->cuLaunchKernel(P(CUfunction, 0), (unsigned)a[1], (unsigned)a[2], 1, (unsigned)a[3], 1, 1, 0, P(CUstream, 4), parameters, NULL);
	}
	case rt_cuPointerGetAttribute: { unsigned long long v = 0; r = l->cuPointerGetAttribute(&v, (CUpointer_attribute)a[0], a[1]); return OUT(v); }
	case rt_cuMemGetAddressRange_v2: r = l->cuMemGetAddressRange_v2(&p, &size, a[0]); a[1] = size; return OUT(p);
	case rt_cuMemGetHandleForAddressRange: n = -1; r = l->cuMemGetHandleForAddressRange(&n, a[0], a[1], (CUmemRangeHandleType)a[2], 0); return OUT(n);
	case rt_cuFlushGPUDirectRDMAWrites:
		return l->cuFlushGPUDirectRDMAWrites((CUflushGPUDirectRDMAWritesTarget)a[0], (CUflushGPUDirectRDMAWritesScope)a[1]);
	}
	return 801; // CUDA_ERROR_NOT_SUPPORTED
}

// rt_cuda_call makes context current for the call and gives the thread back as it was: goroutines move between threads, and
// a caller's thread may have a context of its own.
int rt_cuda_call(const rt_cuda *l, int function, uint64_t context, uint64_t *a, void *text) {
	if (function < 0 || function >= rt_functions || !((void *const *)l)[function])
		return 801; // CUDA_ERROR_NOT_SUPPORTED
	if (context == 0)
		return call(l, function, a, text);
	CUresult r = l->cuCtxPushCurrent_v2((CUcontext)(uintptr_t)context);
	if (r != 0)
		return r;
	r = call(l, function, a, text);
	CUcontext own;
	CUresult popped = l->cuCtxPopCurrent_v2(&own);
	return r != 0 ? r : popped;
}
