package cudabridge_test

import (
	"errors"
	"fmt"

	"github.com/ringtree/ringtree/cudabridge"
)

// Open says what is missing on machines without a GPU.
func ExampleOpen() {
	_, err := cudabridge.Open(cudabridge.Config{Library: "no-such-driver.so.1"})
	fmt.Println(errors.Is(err, cudabridge.ErrNoDriver) || errors.Is(err, cudabridge.ErrNotBuilt))
	// Output: true
}
