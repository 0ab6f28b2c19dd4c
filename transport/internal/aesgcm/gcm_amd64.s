//go:build !purego

#include "textflag.h"

// The text is taken in strides of eight blocks, in four registers of two. While the key stream of one stride is made, the ciphertext of one is hashed: of
// the stride before when sealing, of the same when opening. The products of a group of four strides, each block with its own power of H, are added and
// reduced once. What is left, fewer than eight blocks, goes block by block.
//
// Blocks of GHASH and counters are held with their bytes reversed, so that the last byte of a block is the lowest of the register: then the counter is the
// lowest 32 bits, and bit i of the 128 is the coefficient of x^(127-i).
//
//	Y0 to Y3    four times two counter blocks, which become the key stream
//	Y4          a round key
//	Y5, Y6, Y7  what is hashed, and products
//	Y8, Y9, Y10 the sum of products: the low halves', that of the halves added to each other (Karatsuba), the high halves'
//	X11         the state of GHASH
//	Y12         the byte reversal
//	Y13         the next two counters
//	Y14         2 in either counter
//	Y15         the last round key
//
//	AX          the schedule of the key
//	BX          the state of the message
//	SI, DI, CX  source, destination and bytes to do
//	R8          the round keys of the last ten rounds, the last one included
//	R9          the round key of the first round
//	R12, R13    the powers of H for the next stride, and the end of the powers
//	R10, R11, DX  scratch

// Offsets in the type schedule.
#define POWERS 0
#define FOLDED 512
#define ROUNDS 1024
#define LAST   1264

// Where the power of H for a single block is: H itself.
#define H POWERS+496

// Offsets in the type state.
#define COUNTER 0
#define SUM     16

DATA reverse<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA reverse<>+8(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $16

// The field's polynomial x^128 + x^7 + x^2 + x + 1 without x^128, in the order of bits above, twice; the upper half is what is multiplied by.
DATA poly<>+0(SB)/8, $1
DATA poly<>+8(SB)/8, $0xc200000000000000
DATA poly<>+16(SB)/8, $1
DATA poly<>+24(SB)/8, $0xc200000000000000
GLOBL poly<>(SB), RODATA|NOPTR, $32

DATA steps<>+0(SB)/8, $0
DATA steps<>+8(SB)/8, $0
DATA steps<>+16(SB)/8, $1
DATA steps<>+24(SB)/8, $0
DATA steps<>+32(SB)/8, $1
DATA steps<>+40(SB)/8, $0
DATA steps<>+48(SB)/8, $2
DATA steps<>+56(SB)/8, $0
GLOBL steps<>(SB), RODATA|NOPTR, $64

#define FIRST  steps<>+0(SB)
#define ONE    steps<>+32(SB)
#define TWO    steps<>+48(SB)

// Sixteen bytes from 16-n on keep the first n bytes of a block.
DATA masks<>+0(SB)/8, $0xffffffffffffffff
DATA masks<>+8(SB)/8, $0xffffffffffffffff
DATA masks<>+16(SB)/8, $0
DATA masks<>+24(SB)/8, $0
GLOBL masks<>(SB), RODATA|NOPTR, $32

// REDUCE brings a product, lo + mid<<64 + hi<<128, down to 128 bits in hi: twice it adds the multiple of the polynomial that clears the lowest 64
// bits, and drops these (Montgomery's reduction; for this field, Gueron, Langley and Lindell, RFC 8452, appendix A, have the order of bits).
#define REDUCE(lo, mid, hi, t) \
	VPCLMULQDQ $0x10, poly<>(SB), lo, t  \
	VPSHUFD    $0x4e, lo, lo             \
	VPXOR      lo, mid, mid              \
	VPXOR      t, mid, mid               \
	VPCLMULQDQ $0x10, poly<>(SB), mid, t \
	VPSHUFD    $0x4e, mid, mid           \
	VPXOR      mid, hi, hi               \
	VPXOR      t, hi, hi

// MULTIPLY sets X11 to X11 times h, a register or memory.
#define MULTIPLY(h) \
	VPCLMULQDQ $0x00, h, X11, X8  \
	VPCLMULQDQ $0x01, h, X11, X9  \
	VPCLMULQDQ $0x10, h, X11, X7  \
	VPCLMULQDQ $0x11, h, X11, X11 \
	VPXOR      X7, X9, X9         \
	REDUCE(X8, X9, X11, X7)

// HASH adds one block, which is in X1 in the order of memory, to the state.
#define HASH \
	VPSHUFB X12, X1, X1  \
	VPXOR   X1, X11, X11 \
	MULTIPLY(H(AX))

// ENCRYPT encrypts the block in X0, which is whitened, up to the last round.
#define ENCRYPT(loop) \
	MOVQ R9, R10          \
loop:                     \
	VAESENC (R10), X0, X0 \
	ADDQ    $16, R10      \
	LEAQ    144(R8), R11  \
	CMPQ    R10, R11      \
	JNE     loop

// GATHER and SPREAD move CX bytes, 1 to 15, between memory and the block on the stack.
#define GATHER(loop) \
	VPXOR   X1, X1, X1           \
	VMOVDQU X1, block-16(SP)     \
	XORL    DX, DX               \
loop:                            \
	MOVB (SI)(DX*1), R11         \
	MOVB R11, block-16(SP)(DX*1) \
	INCQ DX                      \
	CMPQ DX, CX                  \
	JNE  loop                    \
	VMOVDQU block-16(SP), X1

#define SPREAD(loop) \
	VMOVDQU X1, block-16(SP)     \
	XORL    DX, DX               \
loop:                            \
	MOVB block-16(SP)(DX*1), R11 \
	MOVB R11, (DI)(DX*1)         \
	INCQ DX                      \
	CMPQ DX, CX                  \
	JNE  loop

// KEYS sets R8 and R9.
#define KEYS \
	MOVQ LAST(AX), R8               \
	LEAQ (ROUNDS-144)(AX)(R8*1), R8 \
	LEAQ ROUNDS+16(AX), R9

// START makes eight counter blocks and encrypts them for the rounds that AES-256 has more than AES-128.
#define START(loop, done) \
	VPSHUFB        Y12, Y13, Y0   \
	VPADDD         Y14, Y13, Y13  \
	VPSHUFB        Y12, Y13, Y1   \
	VPADDD         Y14, Y13, Y13  \
	VPSHUFB        Y12, Y13, Y2   \
	VPADDD         Y14, Y13, Y13  \
	VPSHUFB        Y12, Y13, Y3   \
	VPADDD         Y14, Y13, Y13  \
	VBROADCASTI128 ROUNDS(AX), Y4 \
	VPXOR          Y4, Y0, Y0     \
	VPXOR          Y4, Y1, Y1     \
	VPXOR          Y4, Y2, Y2     \
	VPXOR          Y4, Y3, Y3     \
	CMPQ           R9, R8         \
	JEQ            done           \
	MOVQ           R9, R10        \
loop:                             \
	VBROADCASTI128 (R10), Y4      \
	VAESENC        Y4, Y0, Y0     \
	VAESENC        Y4, Y1, Y1     \
	VAESENC        Y4, Y2, Y2     \
	VAESENC        Y4, Y3, Y3     \
	ADDQ           $16, R10       \
	CMPQ           R10, R8        \
	JNE            loop           \
done:

// ROUND is the i-th of the nine rounds before the last.
#define ROUND(i) \
	VBROADCASTI128 (16*i)(R8), Y4 \
	VAESENC        Y4, Y0, Y0     \
	VAESENC        Y4, Y1, Y1     \
	VAESENC        Y4, Y2, Y2     \
	VAESENC        Y4, Y3, Y3

// TEXTS is the last round, with the text added to the round key.
#define TEXTS \
	VPXOR       0(SI), Y15, Y4  \
	VPXOR       32(SI), Y15, Y5 \
	VPXOR       64(SI), Y15, Y6 \
	VPXOR       96(SI), Y15, Y7 \
	VAESENCLAST Y4, Y0, Y0      \
	VAESENCLAST Y5, Y1, Y1      \
	VAESENCLAST Y6, Y2, Y2      \
	VAESENCLAST Y7, Y3, Y3      \
	VMOVDQU     Y0, 0(DI)       \
	VMOVDQU     Y1, 32(DI)      \
	VMOVDQU     Y2, 64(DI)      \
	VMOVDQU     Y3, 96(DI)

// LOAD takes two blocks of ciphertext. HASHI multiplies them, the i-th pair of the stride, by their powers; HASH0 the first pair, with the state added.
#define LOAD(from) \
	VMOVDQU from, Y5 \
	VPSHUFB Y12, Y5, Y5

#define HASH0 \
	VPXOR Y11, Y5, Y5   \
	VPXOR Y11, Y11, Y11 \
	HASHI(0)

#define HASHI(i) \
	VPSHUFD    $0x4e, Y5, Y6                            \
	VPXOR      Y5, Y6, Y6                               \
	VPCLMULQDQ $0x00, (32*i)(R12), Y5, Y7               \
	VPCLMULQDQ $0x11, (32*i)(R12), Y5, Y5               \
	VPCLMULQDQ $0x00, (FOLDED-POWERS+32*i)(R12), Y6, Y6 \
	VPXOR      Y7, Y8, Y8                               \
	VPXOR      Y5, Y10, Y10                             \
	VPXOR      Y6, Y9, Y9

// COLLECT ends a stride: if its group is complete, the products become the state.
#define COLLECT(no) \
	ADDQ         $128, R12       \
	CMPQ         R12, R13        \
	JNE          no              \
	VPXOR        Y8, Y9, Y9      \
	VPXOR        Y10, Y9, Y9     \
	REDUCE(Y8, Y9, Y10, Y7)      \
	VEXTRACTI128 $1, Y10, X7     \
	VPXOR        X7, X10, X11    \
	VPXOR        Y8, Y8, Y8      \
	VPXOR        Y9, Y9, Y9      \
	VPXOR        Y10, Y10, Y10   \
	LEAQ         POWERS(AX), R12 \
no:

// STRIDE encrypts eight counters, adds them to the text, and hashes the eight blocks at from meanwhile.
#define STRIDE(from0, from1, from2, from3, no) \
	LOAD(from0) \
	ROUND(0)    \
	HASH0       \
	ROUND(1)    \
	LOAD(from1) \
	ROUND(2)    \
	HASHI(1)    \
	ROUND(3)    \
	LOAD(from2) \
	ROUND(4)    \
	HASHI(2)    \
	ROUND(5)    \
	LOAD(from3) \
	ROUND(6)    \
	HASHI(3)    \
	ROUND(7)    \
	COLLECT(no) \
	ROUND(8)    \
	TEXTS

// BEGIN is what strides need, of which there is one at least. The first group is the short one, so that the last ends with H itself.
#define BEGIN \
	VBROADCASTI128 COUNTER(BX), Y13       \
	VPADDD         FIRST, Y13, Y13        \
	VBROADCASTI128 TWO, Y14               \
	VBROADCASTI128 144(R8), Y15           \
	VPXOR          Y8, Y8, Y8             \
	VPXOR          Y9, Y9, Y9             \
	VPXOR          Y10, Y10, Y10          \
	MOVQ           CX, R12                \
	ANDQ           $0x180, R12            \
	NEGQ           R12                    \
	ANDQ           $0x180, R12            \
	LEAQ           POWERS(AX)(R12*1), R12 \
	LEAQ           FOLDED(AX), R13

// func seal(k *schedule, s *state, dst, src *byte, n int)
TEXT ·seal(SB), NOSPLIT, $16-40
	MOVQ           k+0(FP), AX
	MOVQ           s+8(FP), BX
	MOVQ           dst+16(FP), DI
	MOVQ           src+24(FP), SI
	MOVQ           n+32(FP), CX
	KEYS
	VBROADCASTI128 reverse<>(SB), Y12
	VMOVDQU        COUNTER(BX), X13
	VMOVDQU        SUM(BX), X11
	CMPQ           CX, $128
	JLT            few
	BEGIN
	START(more1, some1)
	ROUND(0)
	ROUND(1)
	ROUND(2)
	ROUND(3)
	ROUND(4)
	ROUND(5)
	ROUND(6)
	ROUND(7)
	ROUND(8)
	TEXTS
	JMP            next

stride:
	START(more2, some2)
	STRIDE(-128(DI), -96(DI), -64(DI), -32(DI), no2)

next:
	ADDQ $128, SI
	ADDQ $128, DI
	SUBQ $128, CX
	CMPQ CX, $128
	JGE  stride

	LOAD(-128(DI))
	HASH0
	LOAD(-96(DI))
	HASHI(1)
	LOAD(-64(DI))
	HASHI(2)
	LOAD(-32(DI))
	HASHI(3)
	COLLECT(no3)

few:
	CMPQ CX, $16
	JLT  short

one:
	VPSHUFB     X12, X13, X0
	VPADDD      ONE, X13, X13
	VPXOR       ROUNDS(AX), X0, X0
	ENCRYPT(round1)
	VAESENCLAST 144(R8), X0, X1
	VPXOR       (SI), X1, X1
	VMOVDQU     X1, (DI)
	HASH
	ADDQ        $16, SI
	ADDQ        $16, DI
	SUBQ        $16, CX
	CMPQ        CX, $16
	JGE         one

short:
	TESTQ       CX, CX
	JEQ         done
	VPSHUFB     X12, X13, X0
	VPADDD      ONE, X13, X13
	VPXOR       ROUNDS(AX), X0, X0
	ENCRYPT(round2)
	VAESENCLAST 144(R8), X0, X0
	GATHER(gather)
	LEAQ        masks<>+16(SB), DX
	SUBQ        CX, DX
	VPXOR       X0, X1, X1
	VPAND       (DX), X1, X1
	SPREAD(spread)
	HASH

done:
	VMOVDQU X13, COUNTER(BX)
	VMOVDQU X11, SUM(BX)
	VZEROUPPER
	RET

// func open(k *schedule, s *state, dst, src *byte, n int)
TEXT ·open(SB), NOSPLIT, $16-40
	MOVQ           k+0(FP), AX
	MOVQ           s+8(FP), BX
	MOVQ           dst+16(FP), DI
	MOVQ           src+24(FP), SI
	MOVQ           n+32(FP), CX
	KEYS
	VBROADCASTI128 reverse<>(SB), Y12
	VMOVDQU        COUNTER(BX), X13
	VMOVDQU        SUM(BX), X11
	CMPQ           CX, $128
	JLT            few
	BEGIN

stride:
	START(more, some)
	STRIDE(0(SI), 32(SI), 64(SI), 96(SI), no)
	ADDQ $128, SI
	ADDQ $128, DI
	SUBQ $128, CX
	CMPQ CX, $128
	JGE  stride

few:
	CMPQ CX, $16
	JLT  short

one:
	VPSHUFB     X12, X13, X0
	VPADDD      ONE, X13, X13
	VPXOR       ROUNDS(AX), X0, X0
	ENCRYPT(round1)
	VAESENCLAST 144(R8), X0, X0
	VMOVDQU     (SI), X1
	VPXOR       X1, X0, X0
	VMOVDQU     X0, (DI)
	HASH
	ADDQ        $16, SI
	ADDQ        $16, DI
	SUBQ        $16, CX
	CMPQ        CX, $16
	JGE         one

short:
	TESTQ       CX, CX
	JEQ         done
	VPSHUFB     X12, X13, X0
	VPADDD      ONE, X13, X13
	VPXOR       ROUNDS(AX), X0, X0
	ENCRYPT(round2)
	VAESENCLAST 144(R8), X0, X0
	GATHER(gather)
	VPXOR       X0, X1, X0
	HASH
	VMOVDQA     X0, X1
	SPREAD(spread)

done:
	VMOVDQU X13, COUNTER(BX)
	VMOVDQU X11, SUM(BX)
	VZEROUPPER
	RET

// func hash(k *schedule, s *state, p *byte, n int)
TEXT ·hash(SB), NOSPLIT, $16-32
	MOVQ    k+0(FP), AX
	MOVQ    s+8(FP), BX
	MOVQ    p+16(FP), SI
	MOVQ    n+24(FP), CX
	VMOVDQU reverse<>(SB), X12
	VMOVDQU SUM(BX), X11
	CMPQ    CX, $16
	JLT     short

one:
	VMOVDQU (SI), X1
	HASH
	ADDQ    $16, SI
	SUBQ    $16, CX
	CMPQ    CX, $16
	JGE     one

short:
	TESTQ CX, CX
	JEQ   done
	GATHER(gather)
	HASH

done:
	VMOVDQU X11, SUM(BX)
	VZEROUPPER
	RET

// func finish(k *schedule, s *state, nonce *[12]byte, texts, others uint64, tag *[16]byte)
TEXT ·finish(SB), NOSPLIT, $0-48
	MOVQ        k+0(FP), AX
	MOVQ        s+8(FP), BX
	MOVQ        tag+40(FP), DI
	KEYS
	VMOVDQU     reverse<>(SB), X12
	VMOVDQU     SUM(BX), X11
	VMOVQ       texts+24(FP), X1
	VPINSRQ     $1, others+32(FP), X1, X1
	VPXOR       X1, X11, X11
	MULTIPLY(H(AX))
	VPSHUFB     X12, X11, X11
	MOVQ        nonce+16(FP), DX
	VMOVQ       (DX), X0
	VPINSRD     $2, 8(DX), X0, X0
	MOVL        $0x01000000, DX
	VPINSRD     $3, DX, X0, X0
	VPXOR       ROUNDS(AX), X0, X0
	ENCRYPT(round)
	VAESENCLAST 144(R8), X0, X0
	VPXOR       X11, X0, X0
	VMOVDQU     X0, (DI)
	VZEROUPPER
	RET

// func multiply(product, a, b *[2]uint64)
TEXT ·multiply(SB), NOSPLIT, $0-24
	MOVQ    product+0(FP), DI
	MOVQ    a+8(FP), SI
	MOVQ    b+16(FP), DX
	VMOVDQU (SI), X11
	VMOVDQU (DX), X6
	MULTIPLY(X6)
	VMOVDQU X11, (DI)
	VZEROUPPER
	RET

// func subWord(w uint32) uint32
TEXT ·subWord(SB), NOSPLIT, $0-12
	// With four columns alike, shifting rows changes nothing, and with a key of zero the last round is the substitution.
	MOVL         w+0(FP), AX
	VMOVD        AX, X0
	VPBROADCASTD X0, X0
	VPXOR        X1, X1, X1
	VAESENCLAST  X1, X0, X0
	VMOVD        X0, AX
	VZEROUPPER
	MOVL         AX, ret+8(FP)
	RET

// func features() (ecx uint32)
TEXT ·features(SB), NOSPLIT, $0-4
	MOVL $7, AX
	XORL CX, CX
	CPUID
	MOVL CX, ecx+0(FP)
	RET
