//go:build !linux

package shm

import (
	"fmt"
	"runtime"

	"github.com/ringtree/ringtree/transport"
)

var errSystem = fmt.Errorf("shm: no shared memory on %s: %w", runtime.GOOS, transport.ErrNotSupported)

func available() error { return errSystem }

func newBell() (transport.Bell, error) { return nil, errSystem }

func listen(string, int, transport.Bell, func()) (transport.Endpoint, error) { return nil, errSystem }
