package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"image/png"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ringtree/ringtree/collective"
	"github.com/ringtree/ringtree/examples/internal/launch"
	"github.com/ringtree/ringtree/transport"
	"github.com/ringtree/ringtree/transport/mem"
	"github.com/ringtree/ringtree/transport/shm"
)

// asProgram makes the test binary the program, for processes that a test starts one by one.
const asProgram = "TRAIN_TEST_AS_PROGRAM"

// TestMain lets the test binary be the program, for ranks that a test starts as processes.
func TestMain(m *testing.M) {
	if _, _, _, ok := launch.FromEnv(); ok || os.Getenv(asProgram) != "" {
		os.Exit(command(os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// program runs the whole command and returns what it printed. The command line decides the exit status.
func program(t *testing.T, status int, args ...string) (stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	if got := command(args, &out, &errs); got != status {
		t.Fatalf("train %s: exit status %d, want %d\n%s%s", strings.Join(args, " "), got, status, &out, &errs)
	}
	return out.String(), errs.String()
}

// finals reads the JSON output: losses by epoch and the last event.
type finals struct {
	losses   []float64
	accuracy float64
	right    int
	weights  string
}

func readJSON(t *testing.T, out string) finals {
	t.Helper()
	var f finals
	d := json.NewDecoder(strings.NewReader(out))
	d.DisallowUnknownFields()
	for d.More() {
		var e struct {
			Event, Weights, Transport, Algorithm, Optimizer, Data string
			Loss, Accuracy, Lr                                    float64
			StepUS                                                float64 `json:"step_us"`
			ComputeUS                                             float64 `json:"compute_us"`
			ExposedUS                                             float64 `json:"exposed_us"`
			Right, Epoch, Ranks, Processes, Parameters            int
			Batch, Seed, Buckets                                  int
			Train                                                 int `json:"train_samples"`
			Test                                                  int `json:"test_samples"`
			Bytes                                                 int `json:"bytes_per_step"`
			Layers                                                []int
		}
		if err := d.Decode(&e); err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		switch e.Event {
		case "epoch":
			f.losses = append(f.losses, e.Loss)
			if e.StepUS <= 0 || e.ComputeUS+e.ExposedUS-e.StepUS > 1e-6*e.StepUS {
				t.Errorf("step of %v us is not %v + %v", e.StepUS, e.ComputeUS, e.ExposedUS)
			}
		case "end":
			f.accuracy, f.right, f.weights = e.Accuracy, e.Right, e.Weights
		}
	}
	if f.weights == "" {
		t.Fatalf("no end in\n%s", out)
	}
	return f
}

// TestSameTraining: however many ranks share the batches, the training is the same up to rounding. The batch of
// 50 is divisible by none of 3, 4 and 8, and the last of an epoch has 38 samples.
func TestSameTraining(t *testing.T) {
	train := func(ranks int) finals {
		out, _ := program(t, 0, "-np", "1", "-t", fmt.Sprint(ranks), "-transport", "mem",
			"-epochs", "10", "-batch", "50", "-hidden", "64,32", "-bucket", "4K", "-json")
		return readJSON(t, out)
	}
	want := train(1)
	if want.accuracy < 0.96 || len(want.losses) != 10 {
		t.Errorf("one rank: accuracy %v after losses %v, want 0.96 after 10", want.accuracy, want.losses)
	}
	for _, ranks := range []int{2, 3, 4, 8} {
		got := train(ranks)
		if got.right != want.right {
			t.Errorf("%d ranks: %d test samples right, want %d as on one rank", ranks, got.right, want.right)
		}
		if !slices.EqualFunc(got.losses, want.losses, func(a, b float64) bool { return max(a-b, b-a) <= 1e-3*b }) {
			t.Errorf("%d ranks: losses %v, want %v as on one rank", ranks, got.losses, want.losses)
		}
		if again := train(ranks); again.weights != got.weights {
			t.Errorf("%d ranks: weights %s and then %s", ranks, got.weights, again.weights)
		}
	}
}

// TestTiming: what is timed with communication is a training, on whichever ranks; what is timed without leaves no trace in it.
func TestTiming(t *testing.T) {
	const steps = 4
	for _, ranks := range []string{"1", "3"} {
		digests := make(map[string]bool)
		for range 2 {
			out, _ := program(t, 0, "-np", "1", "-t", ranks, "-transport", "mem", "-batch", "5", "-hidden", "16", "-json", "-time", fmt.Sprint(steps))
			_, last, _ := strings.Cut(strings.TrimSpace(out), "\n")
			var r timing
			if err := json.Unmarshal([]byte(last), &r); err != nil {
				t.Fatalf("%v in\n%s", err, out)
			}
			if r.Steps != steps || !(r.Alone > 0) || !(r.Step > 0) || r.Bytes < 4*(64*16+16+16*10+10) || r.Buckets != 1 || r.Digest == "" {
				t.Errorf("%s ranks: got %+v", ranks, r)
			}
			digests[r.Digest] = true
		}
		if len(digests) != 1 {
			t.Errorf("%s ranks: weights %v, want the same twice", ranks, digests)
		}
	}
}

// TestMoreRanksThanSamples gives some ranks nothing to do in any step.
func TestMoreRanksThanSamples(t *testing.T) {
	args := []string{"-np", "1", "-transport", "mem", "-epochs", "1", "-batch", "3", "-hidden", "", "-json", "-t"}
	one, _ := program(t, 0, append(args, "1")...)
	five, _ := program(t, 0, append(args, "5")...)
	if got, want := readJSON(t, five), readJSON(t, one); got.right != want.right {
		t.Errorf("five ranks have %d right, one has %d", got.right, want.right)
	}
}

// TestProcesses runs ranks as processes with goroutine ranks in each, prints the table and draws a plot.
func TestProcesses(t *testing.T) {
	if err := shm.Available(); err != nil {
		t.Skip(err)
	}
	file := filepath.Join(t.TempDir(), "digits.png")
	out, _ := program(t, 0, "-np", "2", "-t", "2", "-epochs", "3", "-hidden", "32", "-optimizer", "adam", "-plot", file)
	lines := strings.Split(strings.TrimSpace(out), "\n")
	rows := 0
	for _, line := range lines {
		var n int
		var loss, accuracy, step, compute, exposed float64
		if strings.HasPrefix(line, "#") {
			continue
		}
		if _, err := fmt.Sscan(line, &n, &loss, &accuracy, &step, &compute, &exposed); err != nil {
			t.Errorf("row %q: %v", line, err)
		}
		rows++
	}
	if rows != 3 || strings.Count(out, "# Weights") != 1 || !strings.Contains(out, "equal on all 4 ranks") || !strings.Contains(out, attribution) {
		t.Errorf("got\n%s\nwant 3 rows, the attribution, and one line of weights on 4 ranks", out)
	}
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if img, err := png.Decode(f); err != nil || img.Bounds().Dx() < 1000 {
		t.Errorf("plot: %v", err)
	}
}

func TestExitStatus(t *testing.T) {
	if out, _ := program(t, 0, "-h"); !strings.Contains(out, "usage:") {
		t.Errorf("help is %q", out)
	}
	_, stderr := program(t, 2, "-np", "none")
	if strings.Count(stderr, "\n") != 1 || !strings.Contains(stderr, "-np") {
		t.Errorf("wrong flag: got %q, want one line", stderr)
	}
	_, stderr = program(t, 2, "-np", "1", "-transport", "pigeon")
	if !strings.Contains(stderr, "quic, tcp") {
		t.Errorf("unknown transport: got %q", stderr)
	}
	_, stderr = program(t, 1, "-np", "1", "-epochs", "1", "-plot", filepath.Join(t.TempDir(), "none", "a.png"))
	if !strings.Contains(stderr, "plot:") {
		t.Errorf("plot in a folder that does not exist: got %q", stderr)
	}
	_, stderr = program(t, 1, "-np", "1", "-t", "2", "-transport", "mem", "-epochs", "2", "-lr", "1e30")
	if !strings.Contains(stderr, "smaller -lr") {
		t.Errorf("diverged: got %q", stderr)
	}
}

// TestWeightsDiffer changes one bit on one rank: every rank must learn which.
func TestWeightsDiffer(t *testing.T) {
	const n, odd = 3, 2
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	network := []transport.Transport{mem.New()}
	errs := make(chan error, n)
	for rank := range n {
		go func() {
			errs <- func() error {
				c, err := collective.Join(ctx, collective.Config{Rank: rank, Size: n, Group: t.Name(), Transports: network})
				if err != nil {
					return err
				}
				defer c.Close()
				m := newModel([]int{4, 3, 2}, 1, 1)
				before, err := sameWeights(ctx, c, m.params())
				if err != nil {
					return err
				}
				if rank == odd {
					w := &m.layers[1].bias[1] // zero
					*w = -*w
				}
				after, err := sameWeights(ctx, c, m.params())
				var differ *weightsError
				if !errors.As(err, &differ) || !slices.Equal(differ.ranks, []int{odd}) || !strings.Contains(err.Error(), "[2]") {
					return fmt.Errorf("digest %q then %q, error %v, want one that names rank %d", before, after, err, odd)
				}
				return nil
			}()
		}()
	}
	for range n {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
}

func TestInterrupted(t *testing.T) {
	o, err := parseOptions([]string{"-np", "1", "-t", "2", "-transport", "mem"}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := runProcess(ctx, o, 0, t.Name(), &bytes.Buffer{}, io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}

// one starts a process of the program on its own. What it writes is there when wait has returned; errs is copied as it
// comes.
func one(t *testing.T, errs io.Writer, env []string, args ...string) (out *bytes.Buffer, wait func() error) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(append(os.Environ(), asProgram+"=1"), env...)
	out = new(bytes.Buffer)
	cmd.Stdout, cmd.Stderr = out, errs
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // it has ended unless the test failed
	return out, cmd.Wait
}

var small = []string{"-epochs", "2", "-batch", "50", "-hidden", "64,32", "-bucket", "4K", "-json"}

// TestInvited: two processes that share nothing but an invitation learn what two goroutines learn, to the last bit, whatever
// transport is between them.
func TestInvited(t *testing.T) {
	want, _ := program(t, 0, append([]string{"-np", "1", "-t", "2", "-transport", "mem", "-algo", "ring"}, small...)...)
	for _, transport := range []string{"auto", "tcp", "quic"} {
		t.Run(transport, func(t *testing.T) {
			flags := append([]string{"-transport", transport, "-algo", "ring"}, small...)
			terminal, told := io.Pipe()
			out, wait := one(t, told, nil, append([]string{"-invite", "2"}, flags...)...)
			invitation := ""
			lines := bufio.NewScanner(terminal)
			for lines.Scan() {
				if _, text, ok := strings.Cut(lines.Text(), "train -join "); ok {
					invitation = text
					break
				}
			}
			go io.Copy(io.Discard, terminal)
			var errs bytes.Buffer
			_, joined := one(t, &errs, nil, append([]string{"-join", invitation}, flags...)...)
			if err := errors.Join(joined(), wait()); err != nil {
				t.Fatalf("%v\n%s", err, &errs)
			}
			if got := readJSON(t, out.String()); got.weights != readJSON(t, want).weights {
				t.Errorf("got weights %s, want %s", got.weights, readJSON(t, want).weights)
			}
		})
	}
}

// TestTorchrun: processes that a launcher has started are told by their environment who they are.
func TestTorchrun(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port - 1 // the next one is used
	l.Close()
	var outs [3]*bytes.Buffer
	var waits []func() error
	var errs [3]bytes.Buffer
	for rank := range outs {
		out, wait := one(t, &errs[rank], []string{
			fmt.Sprint("RANK=", rank), fmt.Sprint("WORLD_SIZE=", len(outs)), fmt.Sprint("LOCAL_RANK=", rank),
			"MASTER_ADDR=127.0.0.1", fmt.Sprint("MASTER_PORT=", port), "TORCHELASTIC_RUN_ID=none",
		}, small...)
		outs[rank], waits = out, append(waits, wait)
	}
	for rank, wait := range waits {
		if err := wait(); err != nil {
			t.Errorf("rank %d: %v\n%s", rank, err, &errs[rank])
		}
	}
	if readJSON(t, outs[0].String()).right == 0 || outs[1].Len()+outs[2].Len() > 0 {
		t.Errorf("rank 0 said\n%sthe others\n%s%s", outs[0], outs[1], outs[2])
	}
}
