// Package all knows the transports that this machine has.
package all

import (
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/shm"
)

// Transports returns the transports that work on this machine, best first: mem between ranks of one process, then, on
// Linux, shm between processes.
func Transports() []transport.Transport {
	ts := []transport.Transport{mem.Default()}
	if shm.Available() == nil {
		ts = append(ts, shm.New())
	}
	return ts
}
