package quic

// segments cuts what one receive call returned into the packets that it is made of: with receive offload the kernel
// joins packets of one size, the last of which may be shorter. size is what the kernel says, 0 if nothing.
type segments struct {
	data []byte
	size int
}

// next returns the next packet, or nil.
func (s *segments) next() []byte {
	n := len(s.data)
	if s.size > 0 {
		n = min(n, s.size)
	}
	p := s.data[:n:n]
	s.data = s.data[n:]
	return p
}
