//go:build !linux

package tcp

import (
	"errors"
	"net"
	"syscall"
	"time"
)

// setSilentTimeout does nothing: keep-alive probes have to do.
func setSilentTimeout(*net.TCPConn, time.Duration) error { return nil }

func unpace(syscall.RawConn, string) error { return errors.ErrUnsupported }

func setCongestion(*net.TCPConn, string) error { return errors.ErrUnsupported }

func congestionOf(*net.TCPConn) string { return "" }

func roundTrip(*net.TCPConn) time.Duration { return 0 }
