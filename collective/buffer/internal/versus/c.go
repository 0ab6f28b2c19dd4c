package main

/*
#cgo CFLAGS: -O3 -mavx2 -Wall
#include <stdint.h>
#include <immintrin.h>

// One loop for each type and number of sources, in the form that the compiler vectorises best. p[0] may be d.
#define EACH(NAME, T, N, SUM)                                                          \
	static void NAME##N(T *d, T *const *p, long n) {                                \
		const T *a = p[0], *b = p[1], *c = p[2], *e = p[3], *f = p[4], *g = p[5], *h = p[6], *l = p[7]; \
		(void)c; (void)e; (void)f; (void)g; (void)h; (void)l;                          \
		_Pragma("GCC ivdep") for (long i = 0; i < n; i++) d[i] = SUM;                   \
	}
#define ALL(NAME, T)                                                                   \
	EACH(NAME, T, 2, a[i] + b[i])                                                   \
	EACH(NAME, T, 4, a[i] + b[i] + c[i] + e[i])                                     \
	EACH(NAME, T, 8, a[i] + b[i] + c[i] + e[i] + f[i] + g[i] + h[i] + l[i])         \
	static void NAME(void *d, void *const *p, int k, long bytes) {                  \
		long n = bytes / (long)sizeof(T);                                               \
		if (k == 2) NAME##2(d, (T *const *)p, n);                                       \
		else if (k == 4) NAME##4(d, (T *const *)p, n);                                  \
		else NAME##8(d, (T *const *)p, n);                                              \
	}
ALL(f32, float)
ALL(f64, double)
ALL(i32, int32_t)

__attribute__((target("avx2,f16c"))) static void f16(void *dst, void *const *src, int k, long bytes) {
	uint16_t *d = dst;
	uint16_t *const *p = (uint16_t *const *)src;
	for (long i = 0; i + 8 <= bytes / 2; i += 8) {
		__m256 x = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p[0] + i)));
		for (int j = 1; j < k; j++)
			x = _mm256_add_ps(x, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p[j] + i))));
		_mm_storeu_si128((__m128i *)(d + i), _mm256_cvtps_ph(x, 0));
	}
}

static inline float up(uint16_t h) { union { uint32_t u; float f; } x = {(uint32_t)h << 16}; return x.f; }
static inline uint16_t down(float f) {
	union { float f; uint32_t u; } x = {f};
	uint32_t r = (x.u + 0x7fff + (x.u >> 16 & 1)) >> 16;
	return f != f ? 0xffff : r;
}
#define BF(N, SUM)                                                                     \
	static void bf16##N(uint16_t *d, uint16_t *const *p, long n) {                  \
		const uint16_t *a = p[0], *b = p[1], *c = p[2], *e = p[3], *f = p[4], *g = p[5], *h = p[6], *l = p[7]; \
		(void)c; (void)e; (void)f; (void)g; (void)h; (void)l;                          \
		_Pragma("GCC ivdep") for (long i = 0; i < n; i++) d[i] = down(SUM);             \
	}
BF(2, up(a[i]) + up(b[i]))
BF(4, up(a[i]) + up(b[i]) + up(c[i]) + up(e[i]))
BF(8, up(a[i]) + up(b[i]) + up(c[i]) + up(e[i]) + up(f[i]) + up(g[i]) + up(h[i]) + up(l[i]))
static void bf16(void *d, void *const *p, int k, long bytes) {
	if (k == 2) bf162(d, (uint16_t *const *)p, bytes / 2);
	else if (k == 4) bf164(d, (uint16_t *const *)p, bytes / 2);
	else bf168(d, (uint16_t *const *)p, bytes / 2);
}

static void reduce(int type, void *d, void *const *p, int k, long bytes) {
	switch (type) {
	case 0: f32(d, p, k, bytes); break;
	case 1: f64(d, p, k, bytes); break;
	case 2: i32(d, p, k, bytes); break;
	case 3: f16(d, p, k, bytes); break;
	case 4: bf16(d, p, k, bytes); break;
	}
}
*/
import "C"

import (
	"runtime"
	"unsafe"
)

// compiled sums by what the C compiler makes of plain loops. kind numbers the types as types does.
func compiled(kind int, dst []byte, srcs [][]byte) {
	var pin runtime.Pinner
	defer pin.Unpin()
	var from [8]unsafe.Pointer
	for i, s := range srcs {
		p := unsafe.Pointer(&s[0])
		pin.Pin(&s[0])
		from[i] = p
	}
	C.reduce(C.int(kind), unsafe.Pointer(&dst[0]), &from[0], C.int(len(srcs)), C.long(len(dst)))
}
