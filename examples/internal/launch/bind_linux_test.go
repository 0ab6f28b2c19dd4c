package launch

import (
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// A process of its own binds itself, so that this one stays as it is.
func TestBind(t *testing.T) {
	if os.Getenv("LAUNCH_TEST_BIND") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestBind$", "-test.v")
		cmd.Env = append(os.Environ(), "LAUNCH_TEST_BIND=1", "GOMAXPROCS=")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	cores := runtime.NumCPU()
	if bound, err := Bind(0, cores+1); bound || err != nil {
		t.Errorf("more ranks than cores: %v, %v", bound, err)
	}
	if bound, err := Bind(cores-1, cores); !bound || err != nil {
		t.Fatalf("the last rank: %v, %v", bound, err)
	}
	if n := runtime.GOMAXPROCS(0); n != 1 {
		t.Errorf("%d goroutines at a time on a core", n)
	}
	for range 4 { // wherever this goroutine runs
		done := make(chan unix.CPUSet)
		go func() {
			var set unix.CPUSet
			_ = unix.SchedGetaffinity(0, &set)
			done <- set
		}()
		if set := <-done; set.Count() != 1 {
			t.Errorf("a thread may use %d cores", set.Count())
		}
	}
}
