// The part of the CUDA driver's interface that the bridge uses, declared by hand from the driver's public documentation, so
// that nothing of NVIDIA's is needed to build. Where cuda.h is at hand a test compares every line with it.
#ifndef RINGTREE_CUDABRIDGE_ABI_H
#define RINGTREE_CUDABRIDGE_ABI_H

#include <stddef.h>
#include <stdint.h>

#ifndef RINGTREE_WITH_CUDA_H
typedef int CUresult;
typedef int CUdevice;
typedef int CUdevice_attribute;
typedef int CUpointer_attribute;
typedef int CUjit_option;
typedef int CUmemRangeHandleType;
typedef int CUflushGPUDirectRDMAWritesTarget;
typedef int CUflushGPUDirectRDMAWritesScope;
typedef unsigned long long CUdeviceptr;
typedef uint32_t cuuint32_t;
typedef struct CUctx_st *CUcontext;
typedef struct CUmod_st *CUmodule;
typedef struct CUfunc_st *CUfunction;
typedef struct CUstream_st *CUstream;
typedef struct CUevent_st *CUevent;
typedef struct { char bytes[16]; } CUuuid;
typedef struct { char reserved[64]; } CUipcMemHandle;
typedef struct { char reserved[64]; } CUipcEventHandle;
#endif

// RT_CUDA lists the functions: name with its version, whether the bridge needs it, parameters. Their order is that of the
// constants in calls.go.
#define RT_CUDA(X) \
	X(cuInit, 1, (unsigned int)) \
	X(cuDriverGetVersion, 1, (int *)) \
	X(cuGetErrorName, 1, (CUresult, const char **)) \
	X(cuGetErrorString, 1, (CUresult, const char **)) \
	X(cuDeviceGetCount, 1, (int *)) \
	X(cuDeviceGet, 1, (CUdevice *, int)) \
	X(cuDeviceGetName, 1, (char *, int, CUdevice)) \
	X(cuDeviceGetUuid, 1, (CUuuid *, CUdevice)) \
	X(cuDeviceGetPCIBusId, 1, (char *, int, CUdevice)) \
	X(cuDeviceGetAttribute, 1, (int *, CUdevice_attribute, CUdevice)) \
	X(cuDeviceTotalMem_v2, 1, (size_t *, CUdevice)) \
	X(cuDeviceCanAccessPeer, 1, (int *, CUdevice, CUdevice)) \
	X(cuDevicePrimaryCtxRetain, 1, (CUcontext *, CUdevice)) \
	X(cuDevicePrimaryCtxRelease_v2, 1, (CUdevice)) \
	X(cuCtxPushCurrent_v2, 1, (CUcontext)) \
	X(cuCtxPopCurrent_v2, 1, (CUcontext *)) \
	X(cuCtxEnablePeerAccess, 1, (CUcontext, unsigned int)) \
	X(cuMemGetInfo_v2, 1, (size_t *, size_t *)) \
	X(cuMemAlloc_v2, 1, (CUdeviceptr *, size_t)) \
	X(cuMemFree_v2, 1, (CUdeviceptr)) \
	X(cuMemAllocAsync, 0, (CUdeviceptr *, size_t, CUstream)) \
	X(cuMemFreeAsync, 0, (CUdeviceptr, CUstream)) \
	X(cuMemHostAlloc, 1, (void **, size_t, unsigned int)) \
	X(cuMemFreeHost, 1, (void *)) \
	X(cuMemcpyAsync, 1, (CUdeviceptr, CUdeviceptr, size_t, CUstream)) \
	X(cuMemcpyHtoDAsync_v2, 1, (CUdeviceptr, const void *, size_t, CUstream)) \
	X(cuMemcpyDtoHAsync_v2, 1, (void *, CUdeviceptr, size_t, CUstream)) \
	X(cuMemcpyPeerAsync, 1, (CUdeviceptr, CUcontext, CUdeviceptr, CUcontext, size_t, CUstream)) \
	X(cuMemsetD8Async, 1, (CUdeviceptr, unsigned char, size_t, CUstream)) \
	X(cuStreamCreateWithPriority, 1, (CUstream *, unsigned int, int)) \
	X(cuStreamDestroy_v2, 1, (CUstream)) \
	X(cuStreamSynchronize, 1, (CUstream)) \
	X(cuStreamQuery, 1, (CUstream)) \
	X(cuStreamWaitEvent, 1, (CUstream, CUevent, unsigned int)) \
	X(cuStreamWaitValue32_v2, 0, (CUstream, CUdeviceptr, cuuint32_t, unsigned int)) \
	X(cuEventCreate, 1, (CUevent *, unsigned int)) \
	X(cuEventDestroy_v2, 1, (CUevent)) \
	X(cuEventRecord, 1, (CUevent, CUstream)) \
	X(cuEventQuery, 1, (CUevent)) \
	X(cuEventSynchronize, 1, (CUevent)) \
	X(cuIpcGetMemHandle, 1, (CUipcMemHandle *, CUdeviceptr)) \
	X(cuIpcOpenMemHandle_v2, 1, (CUdeviceptr *, CUipcMemHandle, unsigned int)) \
	X(cuIpcCloseMemHandle, 1, (CUdeviceptr)) \
	X(cuIpcGetEventHandle, 1, (CUipcEventHandle *, CUevent)) \
	X(cuIpcOpenEventHandle, 1, (CUevent *, CUipcEventHandle)) \
	X(cuModuleLoadDataEx, 1, (CUmodule *, const void *, unsigned int, CUjit_option *, void **)) \
	X(cuModuleGetFunction, 1, (CUfunction *, CUmodule, const char *)) \
	X(cuModuleUnload, 1, (CUmodule)) \
	X(cuLaunchKernel, 1, (CUfunction, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, unsigned int, CUstream, void **, void **)) \
	X(cuPointerGetAttribute, 1, (void *, CUpointer_attribute, CUdeviceptr)) \
	X(cuMemGetAddressRange_v2, 1, (CUdeviceptr *, size_t *, CUdeviceptr)) \
	X(cuMemGetHandleForAddressRange, 0, (void *, CUdeviceptr, size_t, CUmemRangeHandleType, unsigned long long)) \
	X(cuFlushGPUDirectRDMAWrites, 0, (CUflushGPUDirectRDMAWritesTarget, CUflushGPUDirectRDMAWritesScope))

// RT_CUDA_CONSTANTS lists the numbers that the Go code uses: name in cuda.h, value.
#define RT_CUDA_CONSTANTS(X) \
	X(CUDA_ERROR_INVALID_VALUE, 1) \
	X(CUDA_ERROR_OUT_OF_MEMORY, 2) \
	X(CUDA_ERROR_STUB_LIBRARY, 34) \
	X(CUDA_ERROR_NO_DEVICE, 100) \
	X(CUDA_ERROR_INVALID_CONTEXT, 201) \
	X(CUDA_ERROR_ECC_UNCORRECTABLE, 214) \
	X(CUDA_ERROR_NVLINK_UNCORRECTABLE, 220) \
	X(CUDA_ERROR_NOT_FOUND, 500) \
	X(CUDA_ERROR_NOT_READY, 600) \
	X(CUDA_ERROR_ILLEGAL_ADDRESS, 700) \
	X(CUDA_ERROR_LAUNCH_TIMEOUT, 702) \
	X(CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED, 704) \
	X(CUDA_ERROR_CONTEXT_IS_DESTROYED, 709) \
	X(CUDA_ERROR_ASSERT, 710) \
	X(CUDA_ERROR_HARDWARE_STACK_ERROR, 714) \
	X(CUDA_ERROR_ILLEGAL_INSTRUCTION, 715) \
	X(CUDA_ERROR_MISALIGNED_ADDRESS, 716) \
	X(CUDA_ERROR_INVALID_ADDRESS_SPACE, 717) \
	X(CUDA_ERROR_INVALID_PC, 718) \
	X(CUDA_ERROR_LAUNCH_FAILED, 719) \
	X(CUDA_ERROR_NOT_SUPPORTED, 801) \
	X(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 16) \
	X(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 75) \
	X(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 76) \
	X(CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING, 41) \
	X(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 115) \
	X(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_FLUSH_WRITES_OPTIONS, 117) \
	X(CU_DEVICE_ATTRIBUTE_GPU_DIRECT_RDMA_WRITES_ORDERING, 118) \
	X(CU_FLUSH_GPU_DIRECT_RDMA_WRITES_OPTION_HOST, 1) \
	X(CU_GPU_DIRECT_RDMA_WRITES_ORDERING_OWNER, 100) \
	X(CU_GPU_DIRECT_RDMA_WRITES_ORDERING_ALL_DEVICES, 200) \
	X(CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TARGET_CURRENT_CTX, 0) \
	X(CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_OWNER, 100) \
	X(CU_FLUSH_GPU_DIRECT_RDMA_WRITES_TO_ALL_DEVICES, 200) \
	X(CU_POINTER_ATTRIBUTE_BUFFER_ID, 7) \
	X(CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, 9) \
	X(CU_STREAM_NON_BLOCKING, 1) \
	X(CU_EVENT_BLOCKING_SYNC, 1) \
	X(CU_EVENT_DISABLE_TIMING, 2) \
	X(CU_EVENT_INTERPROCESS, 4) \
	X(CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS, 1) \
	X(CU_MEMHOSTALLOC_PORTABLE, 1) \
	X(CU_MEMHOSTALLOC_DEVICEMAP, 2) \
	X(CU_STREAM_WAIT_VALUE_GEQ, 0) \
	X(CU_MEM_RANGE_HANDLE_TYPE_DMA_BUF_FD, 1)

// A rt_cuda is a loaded library.
typedef struct rt_cuda {
#define X(name, required, parameters) CUresult (*name) parameters;
	RT_CUDA(X)
#undef X
} rt_cuda;

// The numbers of the functions.
enum {
#define X(name, required, parameters) rt_##name,
	RT_CUDA(X)
#undef X
	rt_functions
};

#endif
