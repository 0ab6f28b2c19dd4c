// Plain loops that reduce 2, 4 or 8 sources, in the form that the compiler vectorises best, with package buffer's results.
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

// Nothing asks for the exceptions of comparisons, and the compiler vectorises more of them once it is told so.
#pragma GCC optimize("no-trapping-math")

// EACH is one loop. Any of the sources may be the result.
#define EACH(NAME, T, N, RESULT)                                                                                \
	static void NAME##N(void *to, void *const *p, long bytes) {                                     \
		T *d = to;                                                                                       \
		const T *a = p[0], *b = p[1], *c = p[2], *e = p[3], *f = p[4], *g = p[5], *h = p[6], *l = p[7];  \
		(void)c; (void)e; (void)f; (void)g; (void)h; (void)l;                                            \
		_Pragma("GCC ivdep") for (long i = 0; i < bytes / (long)sizeof(T); i++) d[i] = RESULT;           \
	}
// ALL makes the three loops and their choice. UP brings an element into the form in which DO reduces two, and DOWN brings it back.
#define ALL(NAME, T, UP, DO, DOWN)                                                                              \
	EACH(NAME, T, 2, DOWN(DO(UP(a[i]), UP(b[i]))))                                                           \
	EACH(NAME, T, 4, DOWN(DO(DO(DO(UP(a[i]), UP(b[i])), UP(c[i])), UP(e[i]))))                               \
	EACH(NAME, T, 8, DOWN(DO(DO(DO(DO(DO(DO(DO(UP(a[i]), UP(b[i])), UP(c[i])), UP(e[i])), UP(f[i])), UP(g[i])), UP(h[i])), UP(l[i])))) \
	static void NAME(void *d, void *const *p, int k, long bytes) {                                           \
		if (k == 2) NAME##2(d, p, bytes);                                                                \
		else if (k == 4) NAME##4(d, p, bytes);                                                           \
		else NAME##8(d, p, bytes);                                                                       \
	}

#define SAME(x) (x)
#define ADD(x, y) ((x) + (y))
#define MULTIPLY(x, y) ((x) * (y))

static inline int32_t smaller_i32(int32_t x, int32_t y) { return x < y ? x : y; }
static inline int32_t larger_i32(int32_t x, int32_t y) { return x > y ? x : y; }
static inline int16_t smaller_i16(int16_t x, int16_t y) { return x < y ? x : y; }
static inline int16_t larger_i16(int16_t x, int16_t y) { return x > y ? x : y; }

// The order of floats: both ways of asking differ for zeros, which OR and AND give the right sign, and for NaNs.
#define ORDER(NAME, T, U, COMPARED, MERGE)                                                                      \
	static inline T NAME(T x, T y) {                                                                         \
		T one = x COMPARED y ? x : y, other = y COMPARED x ? y : x;                                      \
		U u, v;                                                                                          \
		memcpy(&u, &one, sizeof u);                                                                      \
		memcpy(&v, &other, sizeof v);                                                                    \
		u = u MERGE v;                                                                                   \
		u |= -(U)__builtin_isunordered(x, y);                                                                     \
		memcpy(&one, &u, sizeof u);                                                                      \
		return one;                                                                                      \
	}
ORDER(smaller_f32, float, uint32_t, <, |)
ORDER(larger_f32, float, uint32_t, >, &)
ORDER(smaller_f64, double, uint64_t, <, |)
ORDER(larger_f64, double, uint64_t, >, &)

// Halves: sums and products in float32, rounded once.
static inline float up(uint16_t h) {
	uint32_t u = (uint32_t)h << 16;
	float f;
	memcpy(&f, &u, sizeof f);
	return f;
}
static inline uint16_t down(float f) {
	uint32_t u;
	memcpy(&u, &f, sizeof u);
	u = (u + 0x7fff + (u >> 16 & 1)) >> 16;
	return f != f ? 0xffff : u;
}

// The compiler does not vectorise conversions of float16. Once k is known it takes the inner loop apart.
#define F16(NAME, DO)                                                                                           \
	__attribute__((target("avx2,f16c"), always_inline)) static inline void NAME##N(void *dst, void *const *src, int k, long bytes) { \
		uint16_t *d = dst;                                                                               \
		const uint16_t *p[8];                                                                            \
		for (int j = 0; j < k; j++) p[j] = src[j];                                                       \
		for (long i = 0; i + 8 <= bytes / 2; i += 8) {                                                   \
			__m256 x = _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p[0] + i)));                \
			for (int j = 1; j < k; j++)                                                              \
				x = DO(x, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(p[j] + i))));        \
			_mm_storeu_si128((__m128i *)(d + i), _mm256_cvtps_ph(x, 0));                             \
		}                                                                                                \
	}                                                                                                        \
	__attribute__((target("avx2,f16c"))) static void NAME(void *d, void *const *p, int k, long bytes) {      \
		if (k == 2) NAME##N(d, p, 2, bytes);                                                             \
		else if (k == 4) NAME##N(d, p, 4, bytes);                                                        \
		else NAME##N(d, p, 8, bytes);                                                                    \
	}

// Their order is that of integers, once the bits but the sign of negative ones are turned over. A NaN goes on as the key that no number is
// beyond on either side.
static inline int16_t turned(uint16_t h) { return (int16_t)h ^ (int16_t)(((int16_t)h >> 15) & 0x7fff); }

static inline uint16_t back(int16_t key) { return (uint16_t)(key ^ (int16_t)((key >> 15) & 0x7fff)); }
#define LOW(INF) static inline int16_t low##INF(uint16_t h) { return (h & 0x7fff) > INF ? INT16_MIN : turned(h); }
#define HIGH(INF) static inline int16_t high##INF(uint16_t h) { return (h & 0x7fff) > INF ? INT16_MAX : turned(h); }
LOW(0x7c00)
LOW(0x7f80)
HIGH(0x7c00)
HIGH(0x7f80)

ALL(sum_f32, float, SAME, ADD, SAME)
ALL(prod_f32, float, SAME, MULTIPLY, SAME)
ALL(min_f32, float, SAME, smaller_f32, SAME)
ALL(max_f32, float, SAME, larger_f32, SAME)
ALL(sum_f64, double, SAME, ADD, SAME)
ALL(prod_f64, double, SAME, MULTIPLY, SAME)
ALL(min_f64, double, SAME, smaller_f64, SAME)
ALL(max_f64, double, SAME, larger_f64, SAME)
ALL(sum_i32, uint32_t, SAME, ADD, SAME)
ALL(prod_i32, uint32_t, SAME, MULTIPLY, SAME)
ALL(min_i32, int32_t, SAME, smaller_i32, SAME)
ALL(max_i32, int32_t, SAME, larger_i32, SAME)
F16(sum_f16, _mm256_add_ps)
F16(prod_f16, _mm256_mul_ps)
ALL(min_f16, uint16_t, low0x7c00, smaller_i16, back)
ALL(max_f16, uint16_t, high0x7c00, larger_i16, back)
ALL(sum_bf16, uint16_t, up, ADD, down)
ALL(prod_bf16, uint16_t, up, MULTIPLY, down)
ALL(min_bf16, uint16_t, low0x7f80, smaller_i16, back)
ALL(max_bf16, uint16_t, high0x7f80, larger_i16, back)

// loops has those of a type and an operation in the order of types and ops in main.go.
static void (*const loops[][4])(void *, void *const *, int, long) = {
	{sum_f32, prod_f32, min_f32, max_f32},
	{sum_f64, prod_f64, min_f64, max_f64},
	{sum_i32, prod_i32, min_i32, max_i32},
	{sum_f16, prod_f16, min_f16, max_f16},
	{sum_bf16, prod_bf16, min_bf16, max_bf16},
};

static void reduce(int type, int op, void *d, void *const *p, int k, long bytes, long times) {
	for (long i = 0; i < times; i++) loops[type][op](d, p, k, bytes);
}
