package cudabridge

import (
	"fmt"
	"math"
	"strings"
)

// arguments are what one call of the driver takes and gives back.
type arguments [8]uint64

// A function is one of the driver's, in the order of RT_CUDA in abi.h; a test compares the two.
type function int

const (
	cuInit function = iota
	cuDriverGetVersion
	cuGetErrorName
	cuGetErrorString
	cuDeviceGetCount
	cuDeviceGet
	cuDeviceGetName
	cuDeviceGetUuid
	cuDeviceGetPCIBusId
	cuDeviceGetAttribute
	cuDeviceTotalMem
	cuDeviceCanAccessPeer
	cuDevicePrimaryCtxRetain
	cuDevicePrimaryCtxRelease
	cuCtxPushCurrent
	cuCtxPopCurrent
	cuCtxEnablePeerAccess
	cuMemGetInfo
	cuMemAlloc
	cuMemFree
	cuMemAllocAsync
	cuMemFreeAsync
	cuMemHostAlloc
	cuMemFreeHost
	cuMemcpyAsync
	cuMemcpyHtoDAsync
	cuMemcpyDtoHAsync
	cuMemcpyPeerAsync
	cuMemsetD8Async
	cuStreamCreateWithPriority
	cuStreamDestroy
	cuStreamSynchronize
	cuStreamQuery
	cuStreamWaitEvent
	cuStreamWaitValue32
	cuEventCreate
	cuEventDestroy
	cuEventRecord
	cuEventQuery
	cuEventSynchronize
	cuIpcGetMemHandle
	cuIpcOpenMemHandle
	cuIpcCloseMemHandle
	cuIpcGetEventHandle
	cuIpcOpenEventHandle
	cuModuleLoadDataEx
	cuModuleGetFunction
	cuModuleUnload
	cuLaunchKernel
	cuPointerGetAttribute
	cuMemGetAddressRange
	cuMemGetHandleForAddressRange
	cuFlushGPUDirectRDMAWrites
	functions // how many there are
)

var functionNames = [functions]string{
	"cuInit", "cuDriverGetVersion", "cuGetErrorName", "cuGetErrorString", "cuDeviceGetCount", "cuDeviceGet", "cuDeviceGetName",
	"cuDeviceGetUuid", "cuDeviceGetPCIBusId", "cuDeviceGetAttribute", "cuDeviceTotalMem", "cuDeviceCanAccessPeer",
	"cuDevicePrimaryCtxRetain", "cuDevicePrimaryCtxRelease", "cuCtxPushCurrent", "cuCtxPopCurrent", "cuCtxEnablePeerAccess",
	"cuMemGetInfo", "cuMemAlloc", "cuMemFree", "cuMemAllocAsync", "cuMemFreeAsync", "cuMemHostAlloc", "cuMemFreeHost",
	"cuMemcpyAsync", "cuMemcpyHtoDAsync", "cuMemcpyDtoHAsync", "cuMemcpyPeerAsync", "cuMemsetD8Async", "cuStreamCreateWithPriority",
	"cuStreamDestroy", "cuStreamSynchronize", "cuStreamQuery", "cuStreamWaitEvent", "cuStreamWaitValue32", "cuEventCreate",
	"cuEventDestroy", "cuEventRecord", "cuEventQuery", "cuEventSynchronize", "cuIpcGetMemHandle", "cuIpcOpenMemHandle",
	"cuIpcCloseMemHandle", "cuIpcGetEventHandle", "cuIpcOpenEventHandle", "cuModuleLoadDataEx", "cuModuleGetFunction", "cuModuleUnload",
	"cuLaunchKernel", "cuPointerGetAttribute", "cuMemGetAddressRange",
	"cuMemGetHandleForAddressRange", "cuFlushGPUDirectRDMAWrites",
}

// Results and arguments of the driver; a test compares them with abi.h.
const (
	invalidValue             = 1
	outOfMemory              = 2
	stubLibrary              = 34
	noDevice                 = 100
	invalidContext           = 201
	eccUncorrectable         = 214
	nvlinkUncorrectable      = 220
	notFound                 = 500
	notReady                 = 600
	illegalAddress           = 700
	launchTimeout            = 702
	peerAccessAlreadyEnabled = 704
	contextIsDestroyed       = 709
	assertFailed             = 710
	hardwareStackError       = 714
	illegalInstruction       = 715
	misalignedAddress        = 716
	invalidAddressSpace      = 717
	invalidPC                = 718
	launchFailed             = 719
	notSupported             = 801
	attributeMultiprocessors = 16
	attributeUnified         = 41
	attributeMajor           = 75
	attributeMinor           = 76
	attributePools           = 115
	attributeFlush           = 117
	attributeOrdering        = 118
	flushByHost              = 1 // a bit of the first
	orderedForOwner          = 100
	orderedForAll            = 200
	flushCurrent             = 0
	flushToOwner             = 100
	flushToAll               = 200
	pointerBufferID          = 7
	pointerDevice            = 9
	streamNonBlocking        = 1
	eventBlockingSync        = 1
	eventDisableTiming       = 2
	eventInterprocess        = 4
	ipcLazyPeerAccess        = 1
	hostPortable             = 1
	hostDeviceMap            = 2
	waitGreaterOrEqual       = 0
	rangeDMABuf              = 1
)

// do calls a function and turns a result other than success into an *Error.
func (l *library) do(f function, context uint64, a *arguments, text []byte) error {
	if r := l.call(f, context, a, text); r != 0 {
		return l.failure(f, r)
	}
	return nil
}

// failure is the error of a result.
func (l *library) failure(f function, code int) error {
	return &Error{Call: functionNames[f], Code: code, Name: l.describe(cuGetErrorName, code), Text: l.describe(cuGetErrorString, code)}
}

func (l *library) describe(f function, code int) string {
	text := make([]byte, 256)
	if l.call(f, 0, &arguments{uint64(code), uint64(len(text))}, text) != 0 {
		return "unknown"
	}
	return cString(text)
}

func cString(text []byte) string {
	s, _, _ := strings.Cut(string(text), "\x00")
	return s
}

// size checks a length that comes from the caller.
func size(what string, n int) error {
	if n <= 0 || n > math.MaxInt/2 {
		return fmt.Errorf("cudabridge: %s of %d bytes: %w", what, n, ErrArgument)
	}
	return nil
}
