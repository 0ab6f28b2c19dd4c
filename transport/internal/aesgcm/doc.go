// Package aesgcm is AES-GCM (NIST SP 800-38D) at the speed of the processor's wide instructions, for the records of transport/tcp.
//
// Every byte that two hosts exchange is encrypted and decrypted once, so over fast networks the cipher is what links wait for. The standard
// library's works on 128 bits at a time. Where the processor has AES and carry-less multiplication of 256 bits (VAES and VPCLMULQDQ: AMD from Zen 3,
// Intel from Ice Lake and Alder Lake on; AVX-512 is not needed), [New] returns an implementation in assembly that
// uses them: AES of eight blocks and GHASH of eight others side by side, as Gueron and Kounavis ("Intel carry-less multiplication instruction and its usage for
// computing the GCM mode", 2010) and Gopal and others ("Optimized Galois-Counter-Mode implementation on Intel architecture processors", 2010) do for 128 bits, with 32 powers of the
// hash key, so that only every 32nd block is followed by a reduction.
// Where it has them in 512 bits, too (AVX-512: AMD from Zen 4 on, Intel from Ice Lake on in servers), whole strides of sixteen blocks
// are done in these, and only the rest of a message in 256.
//
// The result is the same, bit for bit, and so is what [crypto/cipher.AEAD] asks of callers. No branch and no address depends on keys or text, only on
// lengths: the instructions for AES take the place of tables. [crypto/cipher.AEAD] Open decrypts while it hashes and clears its output if the tag turns
// out to be wrong, as that of the standard library does. Neither direction allocates.
//
// New returns the standard library's implementation on other processors and systems, for keys of 24 bytes, in FIPS 140 mode, and with the build tag purego.
//
// # BENCHMARKS
//
// BenchmarkAESGCM, in place behind five authenticated bytes, on a virtual machine of an AMD EPYC (Zen 3, 3.1 GHz measured), Go 1.26; GB/s, medians of
// three rounds in turn, ours and the standard library's:
//
//	                      64 B           1 KiB        record of 16 KiB
//	AES-128  seal      0.81  0.53     5.99  3.37     7.83  4.20
//	AES-128  open      0.82  0.64     5.98  3.18     8.15  4.27
//	AES-256  seal      0.68  0.46     5.32  2.97     6.95  3.75
//	AES-256  open      0.72  0.56     5.23  2.91     7.22  3.82
//
// With 512 bits, on one of an EPYC of Zen 5, medians of two rounds in turn: 512, 256 bits and the standard library's:
//
//	                      1 KiB               record of 16 KiB
//	AES-128  seal     14.5   9.2           25.9  12.2  6.6
//	AES-128  open     15.6  10.7           26.5  14.9  6.9
//	AES-256  seal     12.3   7.8           20.6  10.4
//	AES-256  open     13.2   9.1           21.8  12.4
//
// Sealed from content apart, a record of AES-128 takes 783 ns there instead of 1,468, and 2,590 of the standard library's.
//
// In a slower hour a full record took, sealed from content apart from its type ([SealEnding]), 2,902 ns, where the standard library's, which copies first, took
// 4,254 (AES-128; 3,458 and 6,931 for AES-256).
//
// On Zen 3 the carry-less product sets the pace: one takes two cycles, of 128 bits or 256, and is dispatched by itself. Twelve for eight blocks are 24 cycles of the
// 46 that a stride takes; forty rounds of AES would take 20 beside it. One reduction for each stride, instead of for each four, costs a tenth to a fifth more.
package aesgcm
