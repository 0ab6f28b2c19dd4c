//go:build !purego

#include "textflag.h"

// As gcm_amd64.s, in registers of 512 bits: strides of sixteen blocks, in four registers of four, and groups of two strides, so that the powers of H are
// in the same order. There are registers enough for the round keys, and for the ciphertext of a stride until it is hashed.
//
//	Z0 to Z3    four times four counter blocks, which become the key stream
//	Z4 to Z7    what is hashed, products, and a round key of those that AES-256 has more
//	Z8, Z9, Z10 the sum of products: the low halves', that of the halves added to each other (Karatsuba), the high halves'
//	X11         the state of GHASH; the rest of Z11 is zero
//	Z12         the byte reversal
//	Z13         the next four counters
//	Z14         4 in each counter
//	Z15         the last round key
//	Z16         the first one
//	Z17 to Z25  those of the rounds before the last
//	Z26 to Z29  four times four blocks of ciphertext
//	Z30         the polynomial
//
//	AX          the schedule of the key
//	BX          the state of the message
//	SI, DI, CX  source, destination and bytes to do
//	R8          the round keys of the last ten rounds, the last one included
//	R9          the round key of the first round
//	R12, R13    the powers of H for the next stride, and the end of the powers
//	R10, DX     scratch

// Offsets in the type schedule.
#define POWERS 0
#define FOLDED 512
#define ROUNDS 1024
#define LAST   1264

// Offsets in the type state.
#define COUNTER 0
#define SUM     16

DATA reverse<>+0(SB)/8, $0x08090a0b0c0d0e0f
DATA reverse<>+8(SB)/8, $0x0001020304050607
GLOBL reverse<>(SB), RODATA|NOPTR, $16

DATA poly<>+0(SB)/8, $1
DATA poly<>+8(SB)/8, $0xc200000000000000
GLOBL poly<>(SB), RODATA|NOPTR, $16

DATA first<>+0(SB)/8, $0
DATA first<>+8(SB)/8, $0
DATA first<>+16(SB)/8, $1
DATA first<>+24(SB)/8, $0
DATA first<>+32(SB)/8, $2
DATA first<>+40(SB)/8, $0
DATA first<>+48(SB)/8, $3
DATA first<>+56(SB)/8, $0
GLOBL first<>(SB), RODATA|NOPTR, $64

DATA four<>+0(SB)/8, $4
DATA four<>+8(SB)/8, $0
GLOBL four<>(SB), RODATA|NOPTR, $16

// BEGIN is what strides need. The first group is the short one, so that the last ends with H itself.
#define BEGIN \
	MOVQ            k+0(FP), AX              \
	MOVQ            s+8(FP), BX              \
	MOVQ            dst+16(FP), DI           \
	MOVQ            src+24(FP), SI           \
	MOVQ            n+32(FP), CX             \
	MOVQ            LAST(AX), R8             \
	LEAQ            (ROUNDS-144)(AX)(R8*1), R8 \
	LEAQ            ROUNDS+16(AX), R9        \
	VMOVDQU         SUM(BX), X11             \
	VBROADCASTI32X4 reverse<>(SB), Z12       \
	VBROADCASTI32X4 COUNTER(BX), Z13         \
	VPADDD          first<>(SB), Z13, Z13    \
	VBROADCASTI32X4 four<>(SB), Z14          \
	VBROADCASTI32X4 144(R8), Z15             \
	VBROADCASTI32X4 ROUNDS(AX), Z16          \
	VBROADCASTI32X4 0(R8), Z17               \
	VBROADCASTI32X4 16(R8), Z18              \
	VBROADCASTI32X4 32(R8), Z19              \
	VBROADCASTI32X4 48(R8), Z20              \
	VBROADCASTI32X4 64(R8), Z21              \
	VBROADCASTI32X4 80(R8), Z22              \
	VBROADCASTI32X4 96(R8), Z23              \
	VBROADCASTI32X4 112(R8), Z24             \
	VBROADCASTI32X4 128(R8), Z25             \
	VBROADCASTI32X4 poly<>(SB), Z30          \
	VPXOR           X8, X8, X8               \
	VPXOR           X9, X9, X9               \
	VPXOR           X10, X10, X10            \
	MOVQ            CX, DX                   \
	SHRQ            $4, DX                   \
	ADDL            DX, COUNTER(BX)          \
	MOVQ            CX, R12                  \
	ANDQ            $0x100, R12              \
	LEAQ            POWERS(AX)(R12*1), R12   \
	LEAQ            FOLDED(AX), R13

// START makes sixteen counter blocks and encrypts them for the rounds that AES-256 has more than AES-128.
#define START(loop, done) \
	VPSHUFB         Z12, Z13, Z0  \
	VPADDD          Z14, Z13, Z13 \
	VPSHUFB         Z12, Z13, Z1  \
	VPADDD          Z14, Z13, Z13 \
	VPSHUFB         Z12, Z13, Z2  \
	VPADDD          Z14, Z13, Z13 \
	VPSHUFB         Z12, Z13, Z3  \
	VPADDD          Z14, Z13, Z13 \
	VPXORQ          Z16, Z0, Z0   \
	VPXORQ          Z16, Z1, Z1   \
	VPXORQ          Z16, Z2, Z2   \
	VPXORQ          Z16, Z3, Z3   \
	CMPQ            R9, R8        \
	JEQ             done          \
	MOVQ            R9, R10       \
loop:                             \
	VBROADCASTI32X4 (R10), Z4     \
	ROUND(Z4)                     \
	ADDQ            $16, R10      \
	CMPQ            R10, R8       \
	JNE             loop          \
done:

#define ROUND(key) \
	VAESENC key, Z0, Z0 \
	VAESENC key, Z1, Z1 \
	VAESENC key, Z2, Z2 \
	VAESENC key, Z3, Z3

// HASH multiplies four blocks, the i-th four of the stride, by their powers; HASH0 the first, with the state added.
#define HASH0(text) \
	VPSHUFB Z12, text, Z4  \
	VPXORQ  Z11, Z4, Z4    \
	VPXOR   X11, X11, X11  \
	MULTIPLY(0)

#define HASH(i, text) \
	VPSHUFB Z12, text, Z4 \
	MULTIPLY(i)

#define MULTIPLY(i) \
	VPSHUFD    $0x4e, Z4, Z5                            \
	VPXORQ     Z4, Z5, Z5                               \
	VPCLMULQDQ $0x00, (64*i)(R12), Z4, Z6               \
	VPCLMULQDQ $0x11, (64*i)(R12), Z4, Z7               \
	VPCLMULQDQ $0x00, (FOLDED-POWERS+64*i)(R12), Z5, Z5 \
	VPXORQ     Z6, Z8, Z8                               \
	VPXORQ     Z7, Z10, Z10                             \
	VPXORQ     Z5, Z9, Z9

// COLLECT ends a stride: if its group is complete, the products become the state, each reduced as gcm_amd64.s says, and then added up.
#define COLLECT(no) \
	ADDQ          $256, R12          \
	CMPQ          R12, R13           \
	JNE           no                 \
	VPXORQ        Z8, Z9, Z9         \
	VPXORQ        Z10, Z9, Z9        \
	VPCLMULQDQ    $0x10, Z30, Z8, Z7 \
	VPSHUFD       $0x4e, Z8, Z8      \
	VPXORQ        Z8, Z9, Z9         \
	VPXORQ        Z7, Z9, Z9         \
	VPCLMULQDQ    $0x10, Z30, Z9, Z7 \
	VPSHUFD       $0x4e, Z9, Z9      \
	VPXORQ        Z9, Z10, Z10       \
	VPXORQ        Z7, Z10, Z10       \
	VEXTRACTI64X4 $1, Z10, Y7        \
	VPXOR         Y7, Y10, Y10       \
	VEXTRACTI128  $1, Y10, X7        \
	VPXOR         X7, X10, X11       \
	VPXOR         X8, X8, X8         \
	VPXOR         X9, X9, X9         \
	VPXOR         X10, X10, X10      \
	LEAQ          POWERS(AX), R12    \
no:

// STRIDE encrypts sixteen counters up to the last round, and hashes the sixteen blocks in Z26 to Z29 meanwhile.
#define STRIDE(no) \
	ROUND(Z17)   \
	HASH0(Z26)   \
	ROUND(Z18)   \
	ROUND(Z19)   \
	HASH(1, Z27) \
	ROUND(Z20)   \
	ROUND(Z21)   \
	HASH(2, Z28) \
	ROUND(Z22)   \
	ROUND(Z23)   \
	HASH(3, Z29) \
	ROUND(Z24)   \
	COLLECT(no)  \
	ROUND(Z25)

// SEAL is the last round, with the text added to the round key; Z26 to Z29 have the ciphertext then.
#define SEAL \
	VPXORQ      0(SI), Z15, Z26   \
	VPXORQ      64(SI), Z15, Z27  \
	VPXORQ      128(SI), Z15, Z28 \
	VPXORQ      192(SI), Z15, Z29 \
	VAESENCLAST Z26, Z0, Z26      \
	VAESENCLAST Z27, Z1, Z27      \
	VAESENCLAST Z28, Z2, Z28      \
	VAESENCLAST Z29, Z3, Z29      \
	VMOVDQU64   Z26, 0(DI)        \
	VMOVDQU64   Z27, 64(DI)       \
	VMOVDQU64   Z28, 128(DI)      \
	VMOVDQU64   Z29, 192(DI)

// func sealStrides(k *schedule, s *state, dst, src *byte, n int)
TEXT ·sealStrides(SB), NOSPLIT, $0-40
	BEGIN
	START(more1, some1)
	ROUND(Z17)
	ROUND(Z18)
	ROUND(Z19)
	ROUND(Z20)
	ROUND(Z21)
	ROUND(Z22)
	ROUND(Z23)
	ROUND(Z24)
	ROUND(Z25)
	SEAL
	JMP next

stride:
	START(more2, some2)
	STRIDE(no2)
	SEAL

next:
	ADDQ $256, SI
	ADDQ $256, DI
	SUBQ $256, CX
	JNE  stride

	HASH0(Z26)
	HASH(1, Z27)
	HASH(2, Z28)
	HASH(3, Z29)
	COLLECT(no3)
	VMOVDQU X11, SUM(BX)
	VZEROUPPER
	RET

// func openStrides(k *schedule, s *state, dst, src *byte, n int)
TEXT ·openStrides(SB), NOSPLIT, $0-40
	BEGIN

stride:
	VMOVDQU64 0(SI), Z26
	VMOVDQU64 64(SI), Z27
	VMOVDQU64 128(SI), Z28
	VMOVDQU64 192(SI), Z29
	START(more, some)
	STRIDE(no)
	VPXORQ      Z26, Z15, Z26
	VPXORQ      Z27, Z15, Z27
	VPXORQ      Z28, Z15, Z28
	VPXORQ      Z29, Z15, Z29
	VAESENCLAST Z26, Z0, Z0
	VAESENCLAST Z27, Z1, Z1
	VAESENCLAST Z28, Z2, Z2
	VAESENCLAST Z29, Z3, Z3
	VMOVDQU64   Z0, 0(DI)
	VMOVDQU64   Z1, 64(DI)
	VMOVDQU64   Z2, 128(DI)
	VMOVDQU64   Z3, 192(DI)
	ADDQ        $256, SI
	ADDQ        $256, DI
	SUBQ        $256, CX
	JNE         stride
	VMOVDQU     X11, SUM(BX)
	VZEROUPPER
	RET
