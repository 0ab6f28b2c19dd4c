//go:build !linux || !cgo

package rdma

func verbsDevices() ([]string, error) { return nil, ErrNotBuilt }

func openVerbs(*config) (fabric, error) { return nil, ErrNotBuilt }
