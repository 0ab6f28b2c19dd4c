package stripe

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Limits of an address.
const (
	maxAddr   = 4096 // bytes
	maxPlaces = 32   // in an address
	ownPlaces = 16   // of one carrier
)

// A Place is where a carrier accepts connections.
type Place struct {
	Carrier string // its name
	At      string // host:port
}

// PlacesOf returns where carriers accept connections, in their order.
func PlacesOf(carriers []Carrier) []Place {
	var all []Place
	for _, c := range carriers {
		for _, at := range c.Places {
			all = append(all, Place{c.Name, at})
		}
	}
	return all
}

// FormatAddr returns the address of an endpoint: its nonce, "@", and where it listens, separated by commas. A place
// is host:port, with the name of its carrier and a slash before it if it has one.
func FormatAddr(n Nonce, places []Place) string {
	b := []byte(n.String() + "@")
	for i, p := range places {
		if i > 0 {
			b = append(b, ',')
		}
		if p.Carrier != "" {
			b = append(append(b, p.Carrier...), '/')
		}
		b = append(b, p.At...)
	}
	return string(b)
}

// ParseAddr is the inverse of FormatAddr. Ports are decimal and not 0.
func ParseAddr(addr string) (n Nonce, places []Place, err error) {
	if len(addr) > maxAddr {
		return n, nil, fmt.Errorf("address of %d bytes, want at most %d", len(addr), maxAddr)
	}
	name, list, ok := strings.Cut(addr, "@")
	if !ok {
		return n, nil, fmt.Errorf("address %.80q: want endpoint@host:port,…", addr)
	}
	if n, err = ParseNonce(name); err != nil {
		return n, nil, err
	}
	texts := strings.Split(list, ",")
	if len(texts) > maxPlaces {
		return n, nil, fmt.Errorf("address with %d places, want at most %d", len(texts), maxPlaces)
	}
	for _, text := range texts {
		carrier, at, named := strings.Cut(text, "/")
		if !named {
			carrier, at = "", text
		}
		host, port, err := net.SplitHostPort(at)
		if err != nil {
			return n, nil, fmt.Errorf("address: %w", err)
		}
		if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 || host == "" || named && carrier == "" {
			return n, nil, fmt.Errorf("address: place %.80q: want host:port or carrier/host:port", text)
		}
		places = append(places, Place{carrier, at})
	}
	return n, places, nil
}

// Share reports whether two addresses have places of one carrier, so that one endpoint can reach the other.
func Share(a, b string) bool {
	_, here, err := ParseAddr(a)
	if err != nil {
		return false
	}
	_, there, err := ParseAddr(b)
	if err != nil {
		return false
	}
	for _, p := range here {
		for _, q := range there {
			if p.Carrier == q.Carrier {
				return true
			}
		}
	}
	return false
}

// Places returns where peers can reach what listens at local: local itself, or, where that is all interfaces,
// the unicast addresses of the machine, loopback last. Addresses that mean something on one link only are left
// out.
func Places(local netip.AddrPort) ([]string, error) {
	ip, port := local.Addr().Unmap(), local.Port()
	if ip.IsValid() && !ip.IsUnspecified() {
		return []string{netip.AddrPortFrom(ip, port).String()}, nil
	}
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return nil, err
	}
	var far, near []string
	for _, a := range addrs {
		p, err := netip.ParsePrefix(a.String())
		if err != nil {
			continue
		}
		at := p.Addr().Unmap()
		if at.Is6() && ip.Is4() || at.IsLinkLocalUnicast() || at.IsMulticast() {
			continue
		}
		place := netip.AddrPortFrom(at, port).String()
		if at.IsLoopback() {
			near = append(near, place)
		} else {
			far = append(far, place)
		}
	}
	all := append(far, near...)
	if len(all) == 0 {
		return nil, fmt.Errorf("this machine has no address")
	}
	return all[:min(len(all), ownPlaces)], nil
}
