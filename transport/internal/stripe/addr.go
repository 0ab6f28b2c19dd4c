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
	maxAddr       = 4096 // bytes
	maxCandidates = 32
)

// FormatAddr returns the address of an endpoint: its nonce, "@", and where it listens, separated by commas.
func FormatAddr(n Nonce, candidates []string) string {
	return n.String() + "@" + strings.Join(candidates, ",")
}

// ParseAddr is the inverse of FormatAddr. Candidates are host:port with a decimal port other than 0.
func ParseAddr(addr string) (n Nonce, candidates []string, err error) {
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
	candidates = strings.Split(list, ",")
	if len(candidates) > maxCandidates {
		return n, nil, fmt.Errorf("address with %d places, want at most %d", len(candidates), maxCandidates)
	}
	for _, c := range candidates {
		host, port, err := net.SplitHostPort(c)
		if err != nil {
			return n, nil, fmt.Errorf("address: %w", err)
		}
		if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 || host == "" {
			return n, nil, fmt.Errorf("address: place %.80q: want host:port", c)
		}
	}
	return n, candidates, nil
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
	return all[:min(len(all), maxCandidates)], nil
}
