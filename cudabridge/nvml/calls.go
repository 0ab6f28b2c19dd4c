package nvml

import "strings"

// arguments are what one call takes and gives back.
type arguments [2]uint64

// A function is one of the library's, in the order of RT_NVML in abi.h; a test compares the two.
type function int

const (
	nvmlInit function = iota
	nvmlShutdown
	nvmlErrorString
	nvmlSystemGetDriverVersion
	nvmlDeviceGetCount
	nvmlDeviceGetHandleByIndex
	nvmlDeviceGetName
	nvmlDeviceGetUUID
	nvmlDeviceGetPciInfo
	nvmlDeviceGetCudaComputeCapability
	nvmlDeviceGetNvLinkState
	nvmlDeviceGetNvLinkVersion
	nvmlDeviceGetNvLinkRemotePciInfo
	nvmlDeviceGetNvLinkRemoteDeviceType
	nvmlDeviceGetMigMode
	nvmlDeviceGetMaxMigDeviceCount
	nvmlDeviceGetMigDeviceHandleByIndex
	functions // how many there are
)

var functionNames = [functions]string{
	"nvmlInit", "nvmlShutdown", "nvmlErrorString", "nvmlSystemGetDriverVersion", "nvmlDeviceGetCount", "nvmlDeviceGetHandleByIndex",
	"nvmlDeviceGetName", "nvmlDeviceGetUUID", "nvmlDeviceGetPciInfo", "nvmlDeviceGetCudaComputeCapability", "nvmlDeviceGetNvLinkState",
	"nvmlDeviceGetNvLinkVersion", "nvmlDeviceGetNvLinkRemotePciInfo", "nvmlDeviceGetNvLinkRemoteDeviceType", "nvmlDeviceGetMigMode",
	"nvmlDeviceGetMaxMigDeviceCount", "nvmlDeviceGetMigDeviceHandleByIndex",
}

// Results of the library, of nvml.h.
const (
	invalidArgument  = 2
	notSupported     = 3
	noPermission     = 4
	notFound         = 6
	driverNotLoaded  = 9
	functionNotFound = 13
	gpuIsLost        = 15
)

// textSize is room for any text that the library gives.
const textSize = 256

// do calls a function and turns a result other than success into an *Error.
func (l *library) do(f function, a *arguments) (text string, err error) {
	text, code := l.call(f, a)
	if code != 0 {
		e := &Error{Call: functionNames[f], Code: code}
		e.Text, _ = l.call(nvmlErrorString, &arguments{uint64(code)})
		return "", e
	}
	return text, nil
}

func cString(text []byte) string {
	s, _, _ := strings.Cut(string(text), "\x00")
	return s
}
