package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ringtree/ringtree/examples/internal/wan"
)

const exitFailed = 125

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// options is the command line.
type options struct {
	network  wan.Config
	blockUDP []int
	each     bool
	pcap     string
	command  []string
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{}
	set := flag.NewFlagSet("wanlab", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.Usage = func() {
		fmt.Fprintln(stderr, "usage: wanlab [flags] -- command [arguments]")
		set.PrintDefaults()
	}
	set.IntVar(&o.network.Hosts, "hosts", 2, "how many hosts")
	rate := set.Float64("rate", 1000, "`Mbit/s` of each host's line, each way")
	rtt := set.Duration("rtt", 10*time.Millisecond, "round trip")
	loss := set.Float64("loss", 0, "`per cent` of the packets that are lost")
	set.IntVar(&o.network.Queue, "queue", 0, "`bytes` that wait before a line at most (default twice the bandwidth-delay product)")
	set.StringVar(&o.network.Congestion, "congestion", "", "congestion control of TCP (default the machine's)")
	set.BoolVar(&o.network.NoOffload, "no-offload", false, "let the hosts cut their data into packets by themselves")
	set.Uint64Var(&o.network.Seed, "seed", 0, "of the losses")
	block := set.String("block-udp", "", "`hosts` from and to which UDP is dropped, such as 0,2")
	set.BoolVar(&o.each, "each", false, "run the command once on every host")
	set.StringVar(&o.pcap, "pcap", "", "write all that the hosts send to a `file` that Wireshark reads")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	o.network.Rate, o.network.Delay, o.network.Loss = *rate*1e6, *rtt/2, *loss/100
	o.command = set.Args()
	if len(o.command) == 0 {
		set.Usage()
		return nil, errors.New("no command")
	}
	for host := range strings.SplitSeq(*block, ",") {
		if host == "" {
			continue
		}
		i, err := strconv.Atoi(host)
		if err != nil || i < 0 || i >= o.network.Hosts {
			return nil, fmt.Errorf("-block-udp: %q is no host", host)
		}
		o.blockUDP = append(o.blockUDP, i)
	}
	return o, nil
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintln(stderr, "wanlab:", err)
		return exitFailed
	}
	var capture *pcap
	if o.pcap != "" {
		f, err := os.Create(o.pcap)
		if err != nil {
			fmt.Fprintln(stderr, "wanlab:", err)
			return exitFailed
		}
		capture = newPcap(f)
		o.network.Tap = capture.frame
	}
	n, err := wan.New(o.network)
	if err != nil {
		fmt.Fprintln(stderr, "wanlab:", err)
		return exitFailed
	}
	for _, i := range o.blockUDP {
		n.Host(i).BlockUDP(true)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	code := o.command1(ctx, n, stdout, stderr)
	for i := range n.Hosts() {
		fmt.Fprintf(stderr, "wanlab: host %d: %v\n", i, n.Host(i).Stats())
	}
	err = n.Close()
	if capture != nil {
		err = errors.Join(err, capture.close())
	}
	if err != nil {
		fmt.Fprintln(stderr, "wanlab:", err)
		return max(code, exitFailed)
	}
	return code
}

// command1 runs the command, or one on each host, and returns the first status that is not 0.
func (o *options) command1(ctx context.Context, n *wan.Network, stdout, stderr io.Writer) int {
	env := append(os.Environ(), fmt.Sprintf("WAN_HOSTS=%d", n.Hosts()))
	for i := range n.Hosts() {
		env = append(env, fmt.Sprintf("WAN_NS%d=%s", i, n.Host(i).Namespace()), fmt.Sprintf("WAN_ADDR%d=%s", i, n.Host(i).Addr()))
	}
	start := func(host int) (*exec.Cmd, error) {
		cmd := exec.CommandContext(ctx, o.command[0], o.command[1:]...)
		cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = env, os.Stdin, stdout, stderr
		cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
		cmd.WaitDelay = 5 * time.Second
		if host < 0 {
			return cmd, cmd.Start()
		}
		cmd.Env = append(env[:len(env):len(env)], fmt.Sprintf("WAN_HOST=%d", host))
		return cmd, n.Host(host).Start(cmd)
	}
	hosts := []int{-1}
	if o.each {
		hosts = hosts[:0]
		for i := range n.Hosts() {
			hosts = append(hosts, i)
		}
	}
	codes := make([]int, len(hosts))
	var wait sync.WaitGroup
	for i, host := range hosts {
		cmd, err := start(host)
		if err != nil {
			fmt.Fprintln(stderr, "wanlab:", err)
			codes[i] = exitFailed
			continue
		}
		wait.Go(func() {
			err := cmd.Wait()
			codes[i] = cmd.ProcessState.ExitCode()
			if err != nil {
				fmt.Fprintf(stderr, "wanlab: %s: %v\n", o.command[0], err)
			}
			if codes[i] < 0 {
				codes[i] = exitFailed
			}
		})
	}
	wait.Wait()
	for _, code := range codes {
		if code != 0 {
			return code
		}
	}
	return 0
}
