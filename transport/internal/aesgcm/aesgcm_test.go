package aesgcm

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// eachWidth runs a test with every width of instructions that there is here.
func eachWidth(t *testing.T, test func(t *testing.T)) {
	if wider {
		t.Run("512", test)
		wider = false
		defer func() { wider = true }()
	}
	t.Run("256", test)
}

// TestAvailable says in its reason for being skipped what the other tests then are: the standard library against itself.
func TestAvailable(t *testing.T) {
	if !available {
		t.Skip("no 256-bit AES here, or no assembly in this build: New is the standard library's")
	}
	for size, own := range map[int]bool{16: true, 24: false, 32: true} {
		g, err := New(make([]byte, size))
		if err != nil {
			t.Fatal(err)
		}
		stock, err := standard(make([]byte, size))
		if err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprintf("%T", g) != fmt.Sprintf("%T", stock); got != own {
			t.Errorf("%d bytes: got %T", size, g)
		}
	}
}

// In FIPS 140 mode, which a process enters when it starts, New is the standard library's.
func TestFIPS(t *testing.T) {
	const asked = "AESGCM_TEST_FIPS"
	if os.Getenv(asked) != "" {
		g, err := New(make([]byte, 16))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("made %T\n", g)
		return
	}
	stock, err := standard(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestFIPS$")
	child.Env = append(os.Environ(), asked+"=1", "GODEBUG=fips140=on")
	out, err := child.CombinedOutput()
	if err != nil && strings.Contains(string(out), "fips140") && !strings.Contains(string(out), "FAIL") {
		t.Skipf("no FIPS 140 mode here: %s", out)
	}
	if want := fmt.Sprintf("made %T\n", stock); err != nil || !strings.Contains(string(out), want) {
		t.Errorf("got %v, %s, want %s", err, out, want)
	}
}

// standard is New of the standard library.
func standard(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// pair returns New and the standard library's with the same key.
func pair(t testing.TB, key []byte) (own, stock cipher.AEAD) {
	t.Helper()
	own, err := New(key)
	if err != nil {
		t.Fatal(err)
	}
	if stock, err = standard(key); err != nil {
		t.Fatal(err)
	}
	return own, stock
}

// random returns a generator that is the same in every run, and draws n bytes of it.
func random(seed byte) func(n int) []byte {
	r := rand.NewChaCha8([32]byte{seed})
	return func(n int) []byte {
		b := make([]byte, n)
		r.Read(b)
		return b
	}
}

// The test cases of the specification with nonces of 96 bits (McGrew and Viega, "The Galois/Counter Mode of operation (GCM)", appendix B).
func TestSpecification(t *testing.T) { eachWidth(t, testSpecification) }

func testSpecification(t *testing.T) {
	const (
		zero  = "00000000000000000000000000000000"
		key   = "feffe9928665731c6d6a8f9467308308"
		nonce = "cafebabefacedbaddecaf888"
		text  = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
		last  = "1aafd255"
		data  = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
	)
	for i, tt := range map[int]struct{ key, nonce, text, data, sealed, tag string }{
		1:  {zero, zero[:24], "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
		2:  {zero, zero[:24], zero, "", "0388dace60b6a392f328c2b971b2fe78", "ab6e47d42cec13bdf53a67b21257bddf"},
		3:  {key, nonce, text + last, "", "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091473f5985", "4d5c2af327cd64a62cf35abd2ba6fab4"},
		4:  {key, nonce, text, data, "42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091", "5bc94fbc3221a5db94fae95ae7121a47"},
		7:  {zero + zero[:16], zero[:24], "", "", "", "cd33b28ac773f74ba00ed1f312572435"},
		8:  {zero + zero[:16], zero[:24], zero, "", "98e7247c07f0fe411c267e4384b0f600", "2ff58d80033927ab8ef4d4587514f0fb"},
		9:  {key + key[:16], nonce, text + last, "", "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710acade256", "9924a7c8587336bfb118024db8674a14"},
		10: {key + key[:16], nonce, text, data, "3980ca0b3c00e841eb06fac4872a2757859e1ceaa6efd984628593b40ca1e19c7d773d00c144c525ac619d18c84a3f4718e2448b2fe324d9ccda2710", "2519498e80f1478f37ba55bd6d27618c"},
		13: {zero + zero, zero[:24], "", "", "", "530f8afbc74536b9a963b4f1c4cb738b"},
		14: {zero + zero, zero[:24], zero, "", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919"},
		15: {key + key, nonce, text + last, "", "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad", "b094dac5d93471bdec1a502270e3cc6c"},
		16: {key + key, nonce, text, data, "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662", "76fc6ece0f4e1768cddf8853bb2d551b"},
	} {
		parse := func(s string) []byte {
			b, err := hex.DecodeString(s)
			if err != nil {
				t.Fatalf("case %d: %v", i, err)
			}
			return b
		}
		g, err := New(parse(tt.key))
		if err != nil {
			t.Fatal(err)
		}
		sealed := g.Seal(nil, parse(tt.nonce), parse(tt.text), parse(tt.data))
		if got, want := hex.EncodeToString(sealed), tt.sealed+tt.tag; got != want {
			t.Errorf("case %d: got %s, want %s", i, got, want)
		}
		opened, err := g.Open(nil, parse(tt.nonce), parse(tt.sealed+tt.tag), parse(tt.data))
		if err != nil || hex.EncodeToString(opened) != tt.text {
			t.Errorf("case %d: got %x, %v", i, opened, err)
		}
	}
}

// compare seals and opens a message by both implementations, in place and out of place, behind what is there already.
func compare(t *testing.T, own, stock cipher.AEAD, nonce, text, data []byte) {
	t.Helper()
	want := stock.Seal(nil, nonce, text, data)
	const before = 3
	apart := own.Seal([]byte("abc"), nonce, text, data)
	if string(apart[:before]) != "abc" || !bytes.Equal(apart[before:], want) {
		t.Fatalf("%d bytes of text, %d of data: sealed to %x, want %x", len(text), len(data), apart, want)
	}
	room := append(make([]byte, 0, len(want)), text...)
	if within := own.Seal(room[:0], nonce, room, data); !bytes.Equal(within, want) {
		t.Fatalf("%d bytes of text, %d of data: sealed in place to %x, want %x", len(text), len(data), within, want)
	}
	if n := len(text); n > 0 {
		for _, g := range []cipher.AEAD{own, stock} {
			if ending := SealEnding(g, []byte("abc"), nonce, text[:n-1], text[n-1], data); string(ending[:before]) != "abc" || !bytes.Equal(ending[before:], want) {
				t.Fatalf("%d bytes of text, %d of data: sealed with a byte from elsewhere to %x, want %x", n, len(data), ending, want)
			}
		}
		room := append(make([]byte, 0, len(want)), text[:n-1]...)
		if within := SealEnding(own, room[:0], nonce, room, text[n-1], data); !bytes.Equal(within, want) {
			t.Fatalf("%d bytes of text, %d of data: sealed in place with a byte from elsewhere to %x, want %x", n, len(data), within, want)
		}
	}
	opened, err := own.Open([]byte("abc"), nonce, apart[before:], data)
	if err != nil || string(opened[:before]) != "abc" || !bytes.Equal(opened[before:], text) {
		t.Fatalf("%d bytes of text, %d of data: opened to %x, %v, want %x", len(text), len(data), opened, err, text)
	}
	if within, err := own.Open(apart[before:before], nonce, apart[before:], data); err != nil || !bytes.Equal(within, text) {
		t.Fatalf("%d bytes of text, %d of data: opened in place to %x, %v, want %x", len(text), len(data), within, err, text)
	}
}

// Every length up to some strides, and those around the lengths at which something changes: records, groups of strides, pieces.
func TestLengths(t *testing.T) { eachWidth(t, testLengths) }

func testLengths(t *testing.T) {
	var lengths []int
	for n := range 2050 {
		lengths = append(lengths, n)
	}
	for _, near := range []int{1 << 14, 1<<14 + 256, 1 << 16, 1<<17 + 512} {
		for d := -2; d <= 2; d++ {
			lengths = append(lengths, near+d, near+16*d, near+128*d, near+256*d)
		}
	}
	for _, size := range []int{16, 32} {
		draw := random(byte(size))
		own, stock := pair(t, draw(size))
		for _, n := range lengths {
			compare(t, own, stock, draw(12), draw(n), draw(n*31%65))
		}
		for _, n := range []int{1 << 10, 1<<16 - 1, 1 << 16, 1<<16 + 1, 1<<17 + 15} {
			compare(t, own, stock, draw(12), draw(77), draw(n)) // of other data
		}
		for range 20 { // other keys
			own, stock := pair(t, draw(size))
			compare(t, own, stock, draw(12), draw(300), draw(13))
		}
	}
}

// A message in which one bit is another is refused, and what it was decrypted to is not left behind.
func TestForgeries(t *testing.T) { eachWidth(t, testForgeries) }

func testForgeries(t *testing.T) {
	for _, size := range []int{16, 32} {
		draw := random(byte(size))
		own, _ := pair(t, draw(size))
		nonce, text, data := draw(12), draw(2*256+2*128+3*16+5), draw(21)
		sealed := own.Seal(nil, nonce, text, data)
		for name, b := range map[string][]byte{"sealed": sealed, "nonce": nonce, "data": data} {
			for i := range b {
				bit := byte(1) << (i % 8)
				b[i] ^= bit
				dst := bytes.Repeat([]byte{0xa5}, len(text)+1)
				got, err := own.Open(dst[:1], nonce, sealed, data)
				if got != nil || err == nil {
					t.Fatalf("%s, byte %d: got %d bytes, %v", name, i, len(got), err)
				}
				if want := append([]byte{0xa5}, make([]byte, len(text))...); !bytes.Equal(dst, want) {
					t.Fatalf("%s, byte %d: %x is left behind", name, i, dst)
				}
				b[i] ^= bit
			}
		}
		for n := range len(sealed) {
			if got, err := own.Open(nil, nonce, sealed[:n], data); got != nil || err == nil {
				t.Fatalf("the first %d bytes: got %d bytes, %v", n, len(got), err)
			}
		}
		if _, err := own.Open(nil, nonce, append(sealed, 0), data); err == nil {
			t.Error("a byte too many: got no error")
		}
		if _, err := own.Open(nil, nonce, sealed, append(data, 0)); err == nil {
			t.Error("a byte too many of data: got no error")
		}
	}
}

// Nothing is written but the result.
func TestBounds(t *testing.T) { eachWidth(t, testBounds) }

func testBounds(t *testing.T) {
	draw := random(3)
	own, _ := pair(t, draw(16))
	const fence = 64
	for n := range 600 {
		nonce, text, data := draw(12), draw(n), draw(5)
		for off := range 2 {
			sealed := bytes.Repeat([]byte{0xa5}, fence+off+n+16+fence)
			own.Seal(sealed[fence+off:fence+off], nonce, text, data)
			opened := bytes.Repeat([]byte{0xa5}, fence+off+n+fence)
			if _, err := own.Open(opened[fence+off:fence+off], nonce, sealed[fence+off:fence+off+n+16], data); err != nil {
				t.Fatal(err)
			}
			for _, b := range [][]byte{sealed, opened} {
				for _, side := range [][]byte{b[:fence+off], b[len(b)-fence:]} {
					if bytes.Count(side, []byte{0xa5}) != len(side) {
						t.Fatalf("%d bytes: %x beside the result", n, side)
					}
				}
			}
		}
	}
}

// Whoever breaks the rules of cipher.AEAD learns it at once.
func TestMisuse(t *testing.T) {
	g, err := New(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	if g.NonceSize() != 12 || g.Overhead() != 16 {
		t.Errorf("got nonces of %d bytes and %d of overhead", g.NonceSize(), g.Overhead())
	}
	b := make([]byte, 400)
	nonce := make([]byte, 12)
	for name, f := range map[string]func(){
		"seal, long nonce":     func() { g.Seal(nil, make([]byte, 13), nil, nil) },
		"open, short nonce":    func() { g.Open(nil, make([]byte, 11), b[:16], nil) },
		"seal, text shifted":   func() { g.Seal(b[:1], nonce, b[:100], nil) },
		"seal, text in tag":    func() { g.Seal(b[:0], nonce, b[100:190], nil) },
		"open, text shifted":   func() { g.Open(b[:0], nonce, b[1:100], nil) },
		"seal, data in output": func() { g.Seal(b[:0], nonce, b[200:300], b[115:120]) },
		"open, data in output": func() { g.Open(b[:0], nonce, b[200:300], b[83:120]) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: got no panic", name)
				}
			}()
			f()
		}()
	}
	for _, size := range []int{0, 15, 17, 33} {
		var want aes.KeySizeError
		if _, err := New(make([]byte, size)); !errors.As(err, &want) || int(want) != size {
			t.Errorf("a key of %d bytes: got %v", size, err)
		}
	}
	if b := g.Seal(b[:0], nonce, b[200:300], b[116:120]); len(b) != 116 {
		t.Errorf("data behind the output: got %d bytes", len(b))
	}
}

func TestNoAllocations(t *testing.T) {
	g, err := New(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	nonce, record := make([]byte, 12), make([]byte, 5+1000+16)
	if n := testing.AllocsPerRun(100, func() {
		g.Seal(record[5:5], nonce, record[5:1005], record[:5])
		sealed := SealEnding(g, record[5:5], nonce, record[5:1004], 23, record[:5])
		if _, err := g.Open(sealed[:0], nonce, sealed, record[:5]); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("got %v allocations, want none", n)
	}
}

// One key serves many goroutines.
func TestConcurrent(t *testing.T) {
	draw := random(4)
	own, stock := pair(t, draw(32))
	var all sync.WaitGroup
	for i := range 4 {
		nonce, text := draw(12), draw(1000+i)
		want := stock.Seal(nil, nonce, text, nil)
		all.Go(func() {
			for range 50 {
				if got := own.Seal(nil, nonce, text, nil); !bytes.Equal(got, want) {
					t.Errorf("got %x, want %x", got, want)
					return
				}
			}
		})
	}
	all.Wait()
}

// FuzzAESGCM compares with the standard library. The text is repeated to some length.
func FuzzAESGCM(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), []byte("nonce 12 byt"), []byte("text"), []byte("data"), uint(1000), uint(3))
	f.Add([]byte("0123456789abcdef0123456789abcdef"), []byte{0xff, 11: 0xff}, []byte{0}, []byte{}, uint(1<<16+17), uint(0))
	f.Fuzz(func(t *testing.T, key, nonce, text, data []byte, n, flip uint) {
		full := make([]byte, 16+16*(len(key)/32&1))
		copy(full, key)
		own, stock := pair(t, full)
		var exact [12]byte
		copy(exact[:], nonce)
		if n %= 1<<16 + 512; len(text) > 0 {
			text = bytes.Repeat(text, int(n)/len(text)+1)[:n]
		}
		compare(t, own, stock, exact[:], text, data)
		forged := stock.Seal(nil, exact[:], text, data)
		forged[flip/8%uint(len(forged))] ^= 1 << (flip % 8)
		if got, err := own.Open(nil, exact[:], forged, data); err == nil {
			t.Fatalf("bit %d is another: got %x", flip, got)
		}
	})
}

// BenchmarkAESGCM seals and opens as transport/tcp does: in place, behind a header of five bytes, which is authenticated. The largest
// is a full record, also sealed from content apart from its type.
func BenchmarkAESGCM(b *testing.B) {
	for _, size := range []int{16, 32} {
		own, stock := pair(b, make([]byte, size))
		for _, n := range []int{64, 1 << 10, 1<<14 + 1} {
			for _, by := range []struct {
				name string
				cipher.AEAD
			}{{"own", own}, {"standard", stock}} {
				nonce, record := make([]byte, 12), make([]byte, 5+n+16)
				name := fmt.Sprintf("%d/%d/%s", 8*size, n, by.name)
				b.Run("seal/"+name, func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						by.Seal(record[5:5], nonce, record[5:5+n], record[:5])
					}
				})
				if n == 1<<14+1 {
					text := make([]byte, n-1)
					b.Run("apart/"+name, func(b *testing.B) {
						b.SetBytes(int64(n))
						for b.Loop() {
							SealEnding(by, record[:5], nonce, text, 23, record[:5])
						}
					})
				}
				sealed := by.Seal(nil, nonce, record[5:5+n], record[:5])
				b.Run("open/"+name, func(b *testing.B) {
					b.SetBytes(int64(n))
					for b.Loop() {
						if _, err := by.Open(record[5:5], nonce, sealed, record[:5]); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
