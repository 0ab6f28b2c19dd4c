//go:build !linux

package membership

import (
	"context"
	"fmt"
)

// OnHost forms a group of processes of one host. It needs abstract unix sockets, which only Linux has.
func OnHost(_ context.Context, name string, _ int, self Member) (*Group, error) {
	return nil, fmt.Errorf("%w: %w", ErrForming, &RefusedError{Group: name, Rank: self.Rank, Reason: "processes of a host can only meet on Linux"})
}
