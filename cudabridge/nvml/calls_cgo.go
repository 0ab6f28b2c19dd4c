//go:build linux && cgo && (amd64 || arm64)

package nvml

/*
#cgo linux CFLAGS: -D_GNU_SOURCE -O2
#include <stdlib.h>
#include "abi.h"

extern rt_nvml *rt_nvml_open(const char *path, char *why, size_t size);
extern int rt_nvml_call(const rt_nvml *l, int function, uint64_t *a, char *text, unsigned size);
*/
import "C"

import (
	"fmt"
	"unsafe"
)

// A library is a management library in this process. It stays loaded.
type library struct {
	table *C.rt_nvml
}

// openLibrary loads the library of that name or path and finds its functions.
func openLibrary(path string) (*library, error) {
	name := C.CString(path)
	defer C.free(unsafe.Pointer(name))
	why := (*C.char)(C.calloc(1, 2048))
	defer C.free(unsafe.Pointer(why))
	table := C.rt_nvml_open(name, why, 2048)
	if table == nil {
		return nil, fmt.Errorf("%w: %s", ErrNoLibrary, C.GoString(why))
	}
	return &library{table: table}, nil
}

// call runs one function.
func (l *library) call(f function, a *arguments) (string, int) {
	var text [textSize]byte
	r := C.rt_nvml_call(l.table, C.int(f), (*C.uint64_t)(unsafe.Pointer(a)), (*C.char)(unsafe.Pointer(&text[0])), textSize)
	return cString(text[:]), int(r)
}
