package probe

import (
	"errors"
	"fmt"

	"github.com/ringtree/ringtree/topology"
)

// The reasons why a [Cache] has nothing to give. Test with errors.Is.
var (
	// ErrNoEntry is a cache that has nothing under the key.
	ErrNoEntry = errors.New("probe: nothing in the cache")
	// ErrStale is an entry that is older than the cache's limit, or dated in the future.
	ErrStale = errors.New("probe: the cache's entry is too old")
)

// A ConfigError is an argument of [Measure], [Pinger] or a [Cache] that cannot be.
type ConfigError struct {
	Field  string
	Reason string
}

func (e *ConfigError) Error() string { return fmt.Sprintf("probe: %s: %s", e.Field, e.Reason) }

func configErrorf(field, format string, args ...any) error {
	return &ConfigError{Field: field, Reason: fmt.Sprintf(format, args...)}
}

// A PeerError says with which rank, and at what, a measurement failed.
type PeerError struct {
	Peer  topology.Rank
	Doing string // such as "ping-pong of pair 3"
	Err   error  // of the link or the context, or a *ProtocolError
}

func (e *PeerError) Error() string {
	return fmt.Sprintf("probe: rank %d: %s: %v", e.Peer, e.Doing, e.Err)
}

// Unwrap returns the cause.
func (e *PeerError) Unwrap() error { return e.Err }

// A ProtocolError is a frame that does not belong where it came: the other end runs something else, or was told
// of other ranks or pairs.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "probe: unexpected message: " + e.Reason }

func protocolErrorf(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// A ReportError is a report that is not one: a text that cannot be read, or a cost that cannot be.
type ReportError struct {
	Reason string
	Err    error // of the JSON decoder, or nil
}

func (e *ReportError) Error() string { return "probe: bad report: " + e.Reason }

// Unwrap returns Err.
func (e *ReportError) Unwrap() error { return e.Err }

// A CacheError is a file of a [Cache] that cannot be read or written, or holds something else than an entry. The
// cache is a convenience: whoever meets this error measures.
type CacheError struct {
	Path string
	Err  error // of the file system, or what is wrong with the text
}

func (e *CacheError) Error() string { return fmt.Sprintf("probe: cache file %s: %v", e.Path, e.Err) }

// Unwrap returns the cause.
func (e *CacheError) Unwrap() error { return e.Err }
