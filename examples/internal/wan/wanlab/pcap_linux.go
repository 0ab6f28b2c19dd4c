package main

import (
	"bufio"
	"encoding/binary"
	"io"
	"time"
)

// A pcap writes frames in the classic format of libpcap, with times in nanoseconds. It keeps the first error to the end.
type pcap struct {
	file io.WriteCloser
	out  *bufio.Writer
	err  error
}

// snap is the most of a frame that is kept: the largest that a host sends.
const snap = 68 << 10

func newPcap(f io.WriteCloser) *pcap {
	p := &pcap{file: f, out: bufio.NewWriterSize(f, 1<<20)}
	// Magic number, version 2.4, two zeros, snap length, Ethernet.
	p.words(0xa1b23c4d, 2|4<<16, 0, 0, snap, 1)
	return p
}

func (p *pcap) words(w ...uint32) {
	var b []byte
	for _, v := range w {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	p.write(b)
}

func (p *pcap) write(b []byte) {
	if p.err == nil {
		_, p.err = p.out.Write(b)
	}
}

func (p *pcap) frame(_ int, data []byte) {
	t := time.Now()
	kept := data[:min(len(data), snap)]
	p.words(uint32(t.Unix()), uint32(t.Nanosecond()), uint32(len(kept)), uint32(len(data)))
	p.write(kept)
}

func (p *pcap) close() error {
	if p.err == nil {
		p.err = p.out.Flush()
	}
	if err := p.file.Close(); p.err == nil {
		p.err = err
	}
	return p.err
}
