package launch_test

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/ringtree/ringtree/examples/internal/launch"
)

// Two ranks that have nothing to do: the program is this test binary, told to run no test.
func ExampleLocal() {
	err := launch.Local(context.Background(), launch.Options{
		NP:     2,
		Args:   []string{"-test.run=^$"},
		Stdout: io.Discard,
		Stderr: io.Discard,
	})
	fmt.Println("error:", err)
	// Output: error: <nil>
}

func ExampleFromEnv() {
	os.Setenv(launch.EnvRank, "1")
	os.Setenv(launch.EnvSize, "4")
	os.Setenv(launch.EnvGroup, "demo")
	rank, size, group, ok := launch.FromEnv()
	fmt.Println(rank, size, group, ok)
	// Output: 1 4 demo true
}
