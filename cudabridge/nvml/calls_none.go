//go:build !linux || !cgo || (!amd64 && !arm64)

package nvml

import (
	"fmt"
	"runtime"
)

type library struct{}

// openLibrary says why this program cannot load the library.
func openLibrary(string) (*library, error) {
	if runtime.GOOS == "linux" && (runtime.GOARCH == "amd64" || runtime.GOARCH == "arm64") {
		return nil, fmt.Errorf("%w: this program was built with CGO_ENABLED=0; build it with cgo and a C compiler", ErrNotBuilt)
	}
	return nil, fmt.Errorf("%w: it is for linux/amd64 and linux/arm64, this program is for %s/%s", ErrNotBuilt, runtime.GOOS, runtime.GOARCH)
}

// call is not reached: there is no library without openLibrary.
func (*library) call(function, *arguments) (string, int) { return "", functionNotFound }
