package nvml_test

import (
	"errors"
	"fmt"

	"github.com/ringtree/ringtree/cudabridge/nvml"
)

// On a machine without GPUs Open says what is missing.
func ExampleOpen() {
	_, err := nvml.Open(nvml.Config{Library: "libnvidia-ml-elsewhere.so.1"})
	fmt.Println(errors.Is(err, nvml.ErrNoLibrary) || errors.Is(err, nvml.ErrNotBuilt))
	// Output: true
}
