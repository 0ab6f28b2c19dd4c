//go:build linux && cgo && (amd64 || arm64)

package cudabridge

/*
#cgo linux CFLAGS: -D_GNU_SOURCE -O2
#cgo noescape rt_cuda_call
#cgo nocallback rt_cuda_call
#include <stdlib.h>
#include "abi.h"

extern rt_cuda *rt_cuda_open(const char *path, char *why, size_t size);
extern int rt_cuda_call(const rt_cuda *lib, int function, uint64_t context, uint64_t *a, void *text);
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// A library is a driver library in this process. It stays loaded: the driver does not survive being unloaded.
type library struct {
	table *C.rt_cuda
}

// openLibrary loads the library of that name or path and finds its functions.
func openLibrary(path string) (*library, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	why := (*C.char)(C.calloc(1, 2048))
	defer C.free(unsafe.Pointer(why))
	table := C.rt_cuda_open(name, why, 2048)
	if table == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoDriver, C.GoString(why))
	}
	return &library{table: table}, nil
}

// call runs one function with context as the calling thread's current one for just that call; 0 leaves the thread as it is.
// a holds the arguments and takes the results. text is for functions that take or fill bytes.
func (l *library) call(f function, context uint64, a *arguments, text []byte) int {
	return int(C.rt_cuda_call(l.table, C.int(f), C.uint64_t(context), (*C.uint64_t)(unsafe.Pointer(a)), unsafe.Pointer(unsafe.SliceData(text))))
}
