package rdma

import (
	"fmt"
	"log/slog"
	"time"
)

// Limits and defaults of the options.
const (
	MaxQueuePairs       = 16
	MaxWindow           = 256
	DefaultWindow       = 8
	DefaultAckTimeout   = 20
	DefaultRetries      = 7
	DefaultSetupTimeout = 5 * time.Second
	DefaultPortGrace    = time.Second
)

// An Option changes how [New] makes a transport.
type Option func(*config)

type config struct {
	device       string
	port         int
	gid          int
	mtu          int
	queuePairs   int
	window       int
	trafficClass int
	serviceLevel int
	pkey         int
	ackTimeout   int
	retries      int
	setup        time.Duration
	grace        time.Duration
	logger       *slog.Logger
	open         func(*config) (fabric, error) // what the device is: verbs, but in tests
}

func defaults() config {
	return config{
		port: 1, gid: -1, queuePairs: 1, window: DefaultWindow, ackTimeout: DefaultAckTimeout, retries: DefaultRetries,
		setup: DefaultSetupTimeout, grace: DefaultPortGrace, logger: slog.New(slog.DiscardHandler), open: openVerbs,
	}
}

// Device sets the device by its name, as in "mlx5_0" (NCCL_IB_HCA). The default is the first with an active port;
// topology/probe says which is near a GPU.
func Device(name string) Option { return func(c *config) { c.device = name } }

// Port sets the port of the device, from 1 (the number in NCCL_IB_HCA); the default is 1.
func Port(number int) Option { return func(c *config) { c.port = number } }

// GIDIndex sets which address of the port is used (NCCL_IB_GID_INDEX). The default, -1, chooses: RoCE v2 before v1, of
// IPv4 before routed IPv6 before link-local addresses; on InfiniBand the first.
func GIDIndex(i int) Option { return func(c *config) { c.gid = i } }

// MTU limits the packets to 256, 512, 1024, 2048 or 4096 bytes. The default, 0, is what both ports have active, as
// NCCL takes it.
func MTU(bytes int) Option { return func(c *config) { c.mtu = bytes } }

// QueuePairs sets over how many connections a link spreads its frames, 1 to 16; the default is 1
// (NCCL_IB_QPS_PER_CONNECTION). More help where the network balances connections, not packets. The fewer of the two
// ends count.
func QueuePairs(n int) Option { return func(c *config) { c.queuePairs = n } }

// Window sets how many frames of a link may be on the way in each direction, 1 to 256; the default is 8. Each holds
// 256 KiB of registered memory. Each end sets it for what it receives.
func Window(frames int) Option { return func(c *config) { c.window = frames } }

// TrafficClass sets the traffic class of RoCE packets, 0 to 255; the default is 0 (NCCL_IB_TC). Its upper six bits are
// the DSCP by which switches choose a lossless queue.
func TrafficClass(class int) Option { return func(c *config) { c.trafficClass = class } }

// ServiceLevel sets the InfiniBand service level, 0 to 15; the default is 0 (NCCL_IB_SL).
func ServiceLevel(level int) Option { return func(c *config) { c.serviceLevel = level } }

// PKeyIndex sets which partition key of the port is used; the default is 0 (NCCL_IB_PKEY).
func PKeyIndex(i int) Option { return func(c *config) { c.pkey = i } }

// AckTimeout sets how long a device waits for an acknowledgement, as an exponent from 1 to 31: 4.096 µs · 2^exponent.
// The default is 20, 4.3 seconds (NCCL_IB_TIMEOUT).
func AckTimeout(exponent int) Option { return func(c *config) { c.ackTimeout = exponent } }

// Retries sets how often a device asks again before the link has failed, 0 to 7; the default is 7 (NCCL_IB_RETRY_CNT).
// Linux's software RoCE takes 7 for ever.
func Retries(n int) Option { return func(c *config) { c.retries = n } }

// SetupTimeout sets how long two ends that have met may take until the device carries their frames; then the control
// link carries them. The default is 5 seconds.
func SetupTimeout(d time.Duration) Option { return func(c *config) { c.setup = d } }

// PortGrace sets how long a port may be down before its links have failed. The default is a second.
func PortGrace(d time.Duration) Option { return func(c *config) { c.grace = d } }

// Logger sets where links are reported that the control transport carries in the device's place, and devices that
// fail. The default is nowhere.
func Logger(l *slog.Logger) Option { return func(c *config) { c.logger = l } }

func (c *config) check() error {
	between := func(what string, value, low, high int) error {
		if value < low || value > high {
			return fmt.Errorf("%s %d, want %d to %d", what, value, low, high)
		}
		return nil
	}
	for _, err := range []error{
		between("port", c.port, 1, 255),
		between("GID index", c.gid, -1, maxGIDs-1),
		between("queue pairs", c.queuePairs, 1, MaxQueuePairs),
		between("window", c.window, 1, MaxWindow),
		between("traffic class", c.trafficClass, 0, 255),
		between("service level", c.serviceLevel, 0, 15),
		between("partition key index", c.pkey, 0, 0xffff),
		between("acknowledgement timeout", c.ackTimeout, 1, 31),
		between("retries", c.retries, 0, 7),
	} {
		if err != nil {
			return err
		}
	}
	switch {
	case c.mtu != 0 && mtuCode(c.mtu) == 0:
		return fmt.Errorf("MTU of %d bytes, want 0, 256, 512, 1024, 2048 or 4096", c.mtu)
	case c.setup <= 0 || c.grace <= 0:
		return fmt.Errorf("setup timeout %v, port grace %v: want more than 0", c.setup, c.grace)
	case c.logger == nil:
		return fmt.Errorf("logger is nil")
	}
	return nil
}

// mtuCode is the number of an MTU in verbs, 0 if there is none.
func mtuCode(bytes int) uint8 {
	for code := uint8(1); code <= 5; code++ {
		if bytes == 128<<code {
			return code
		}
	}
	return 0
}
