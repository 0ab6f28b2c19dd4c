package wan

import (
	"encoding/binary"
	"net"
)

// A TAP device gives and takes Ethernet frames behind a header of virtio (struct virtio_net_hdr, in the machine's byte order):
//
//	0 flags (1: the checksum is still partial)   1 type of segmentation   2 length of headers
//	4 payload of a packet                        6 where the checksum begins   8 where it lies from there
const (
	vnetHeader  = 10
	etherHeader = 14
	wireExtra   = 24 // preamble, checksum and gap of a packet on the wire

	needsChecksum = 1
	gsoNone       = 0
	gsoTCP4       = 1
	gsoUDP        = 5
	gsoECN        = 0x80
)

// A packetFrame is what is known of a frame.
type packetFrame struct {
	data    []byte // with the virtio header
	ip      bool   // carries IPv4
	udp     bool
	packets int
	// Of a frame of several packets:
	tcp     bool
	headers int // bytes from Ethernet's to TCP's or UDP's
	size    int // payload of a packet, but for the last
}

// parseFrame reads a frame. ok is false if it cannot be understood.
func parseFrame(data []byte) (f packetFrame, ok bool) {
	f = packetFrame{data: data, packets: 1}
	if len(data) < vnetHeader+etherHeader {
		return f, false
	}
	e := data[vnetHeader:]
	kind := data[1] &^ gsoECN
	if e[12] != 0x08 || e[13] != 0x00 {
		return f, kind == gsoNone
	}
	ip := e[etherHeader:]
	if len(ip) < 20 || ip[0]>>4 != 4 {
		return f, false
	}
	ihl := int(ip[0]&15) * 4
	if ihl < 20 || len(ip) < ihl {
		return f, false
	}
	f.ip, f.udp = true, ip[9] == 17
	f.size = int(binary.NativeEndian.Uint16(data[4:]))
	if kind == gsoNone || f.size == 0 {
		return f, true
	}
	l4 := ip[ihl:]
	length := 8
	switch {
	case kind == gsoTCP4 && ip[9] == 6 && len(l4) >= 20:
		f.tcp = true
		if length = int(l4[12]>>4) * 4; length < 20 {
			return f, false
		}
	case kind == gsoUDP && f.udp:
	default:
		return f, false
	}
	if len(l4) < length {
		return f, false
	}
	f.headers = etherHeader + ihl + length
	f.packets = max(1, (len(l4)-length+f.size-1)/f.size)
	return f, true
}

// wire returns the bytes that packets first to last-1 take on the wire.
func (f *packetFrame) wire(first, last int) int {
	if f.packets == 1 {
		return len(f.data) - vnetHeader + wireExtra
	}
	lo, hi := f.payload(first, last)
	return hi - lo + (last-first)*(f.headers+wireExtra)
}

// payload returns the range of the payload of these packets.
func (f *packetFrame) payload(first, last int) (lo, hi int) {
	all := len(f.data) - vnetHeader - f.headers
	return first * f.size, min(last*f.size, all)
}

// span returns the length of what cut makes of these packets.
func (f *packetFrame) span(first, last int) int {
	lo, hi := f.payload(first, last)
	return vnetHeader + f.headers + hi - lo
}

// cut writes a frame of packets first to last-1 to dst, which must have room for their span, and returns it. It is what a card
// would make of them: lengths, sequence numbers and flags are theirs, and the checksum is left to the receiver, as it was.
func (f *packetFrame) cut(dst []byte, first, last int) []byte {
	lo, hi := f.payload(first, last)
	n := hi - lo
	dst = dst[:f.span(first, last)]
	body := vnetHeader + f.headers
	copy(dst, f.data[:body])
	copy(dst[body:], f.data[body+lo:body+hi])

	ip := dst[vnetHeader+etherHeader:]
	ihl := int(ip[0]&15) * 4
	l4, length := ip[ihl:], f.headers-etherHeader-ihl
	binary.BigEndian.PutUint16(ip[2:], uint16(ihl+length+n))
	binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+uint16(first))
	ip[10], ip[11] = 0, 0
	binary.BigEndian.PutUint16(ip[10:], ^sum16(0, ip[:ihl]))
	at := 6
	if f.tcp {
		at = 16
		const fin, psh, cwr = 0x01, 0x08, 0x80
		binary.BigEndian.PutUint32(l4[4:], binary.BigEndian.Uint32(l4[4:])+uint32(lo))
		if last < f.packets {
			l4[13] &^= fin | psh
		}
		if first > 0 {
			l4[13] &^= cwr
		}
	} else {
		binary.BigEndian.PutUint16(l4[4:], uint16(length+n))
	}
	pseudo := sum16(uint32(ip[9])+uint32(length+n), ip[12:20])
	binary.BigEndian.PutUint16(l4[at:], pseudo)

	dst[0] = needsChecksum
	native := binary.NativeEndian
	if last-first > 1 {
		native.PutUint16(dst[2:], uint16(f.headers))
		native.PutUint16(dst[4:], uint16(f.size))
	} else {
		dst[1] = gsoNone
		native.PutUint16(dst[2:], 0)
		native.PutUint16(dst[4:], 0)
	}
	native.PutUint16(dst[6:], uint16(etherHeader+ihl))
	native.PutUint16(dst[8:], uint16(at))
	return dst
}

// sum16 is the Internet's checksum (RFC 1071) before its complement. len(b) is even.
func sum16(s uint32, b []byte) uint16 {
	for i := 0; i+1 < len(b); i += 2 {
		s += uint32(b[i])<<8 | uint32(b[i+1])
	}
	for s > 0xffff {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// destination returns the address that a frame is for.
func destination(data []byte) (mac [6]byte, group bool) {
	copy(mac[:], data[vnetHeader:])
	return mac, mac[0]&1 != 0
}

func asMAC(a net.HardwareAddr) (mac [6]byte) {
	copy(mac[:], a)
	return mac
}
