package rdma

// A fabric is an opened port of a device: verbs on a machine that has them. The links above it need no more than this,
// so that they can also be tested on one that reorders, delays and breaks at will.
//
// Methods of a queue and of its pairs are called under the lock of the endpoint whose they are.
type fabric interface {
	name() string
	place() place
	// register makes n bytes from addr known to the device, for more than its own sends if rights say so.
	register(addr uintptr, n int, r rights) (region, error)
	// registerDMABuf is register for n bytes of a dma-buf from offset, which the device sees at addr.
	registerDMABuf(fd int, offset uint64, addr uintptr, n int, r rights) (region, error)
	// queue makes a completion queue that holds that many completions.
	queue(depth int) (queue, error)
	// watch calls report, from a goroutine of its own and one call at a time, when the device or its port has
	// failed, until the returned function has returned.
	watch(report func(error)) (stop func())
	close()
}

// rights are what may be done to a region beside sending from it.
type rights uint8

const (
	peersWrite rights = 1 << iota
	selfReads         // by a reader; pairs do not let peers read
)

// A region is memory that a device knows.
type region interface {
	keys() (local, remote uint32)
	release() error
}

// A queue collects the completions of pairs.
type queue interface {
	// poll takes completions, oldest first, and returns how many.
	poll(into []completion) (int, error)
	// arm asks for an event for the next completion.
	arm() error
	// wait sleeps until there is an event, and takes it. It returns false when unblock was called.
	wait() bool
	unblock()
	pair(sends, receives int) (pair, error)
	reader(depth int) (reader, error)
	close()
}

// A reader reads the memory of its own host through the device. A read comes behind all that the device has been heard to have stored
// before, whose way to the memory it goes, so when it is done, that is there.
type reader interface {
	number() uint32
	// read reads a few bytes from addr of a region with the right selfReads, of which key is the remote key.
	read(id uint64, addr uintptr, key uint32) error
	destroy()
}

// A pair is one end of a reliable connection.
type pair interface {
	number() uint32
	inline() int // bytes that a write can carry in its own entry
	// connect makes the pair ready for both directions. It may take as long as it takes to find the way.
	connect(r route) error
	// receives adds n places for what comes with an immediate.
	receives(n int) error
	write(w *write) error
	// reset ends the connection: what is under way completes with a failure.
	reset()
	destroy()
}

// place is where a port is in its network.
type place struct {
	ethernet bool
	lid      uint16
	gid      [16]byte
	mtu      uint8 // 1 to 5: 256 to 4096 bytes
}

// route is what a pair has to know of the other end and of the path.
type route struct {
	to            place
	number        uint32
	psnIn, psnOut uint32
	mtu           uint8
}

// A completion is a write that is acknowledged, or a frame or credit that has come, or the failure of either.
type completion struct {
	id        uint64 // of the write, or received
	status    Status
	imm       uint32 // in the byte order of this machine
	length    uint32
	pair      uint32 // number
	vendor    uint32
	immediate bool
}

// received is the id of what has come.
const received = 1 << 63

// A write carries one or two pieces of registered memory to one place.
type write struct {
	id                     uint64
	head, body, to         uintptr
	headLength, bodyLength int
	headKey, bodyKey       uint32
	toKey                  uint32
	imm                    uint32
	withImm                bool
	inline                 bool
	signaled               bool // completes, not only when it fails
}
