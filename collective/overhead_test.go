package collective

import (
	"context"
	"testing"

	"github.com/ringtree/ringtree/collective/buffer"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
)

// BenchmarkAlone is what a call costs before anything moves: one rank, 8 bytes.
func BenchmarkAlone(b *testing.B) {
	c, err := Join(context.Background(), Config{Size: 1, Group: b.Name(), Transports: []transport.Transport{mem.New()}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	data := make([]float32, 2)
	b.ReportAllocs()
	for b.Loop() {
		if err := AllReduce(context.Background(), c, data, buffer.Sum); err != nil {
			b.Fatal(err)
		}
	}
}
