// A strict stand-in for the CUDA driver, for tests. Device memory is a memfd that is mapped twice: the address that callers get
// has no access rights, so a load or store of the host faults (unless standin_addressable is asked for), and the stand-in itself uses the other one. Every stream is
// a thread. Kernels are executed by whoever registered with standin_start, without which cuInit fails as the driver of a
// toolkit's stub does.
//
// What a correct program never does is not only refused but noted: standin_violations tells. Vector clocks follow streams,
// events and the host's waits, so two accesses of which neither is ordered after the other are a violation whatever the
// timing was.
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define API __attribute__((visibility("default")))
#define MAX_DEVICES 8
#define MAX_STREAMS 320 // of a process, but for those whose number is used again
#define MAX_PARAMETERS 32

typedef int R;
typedef unsigned long long DP;
enum { INVALID_VALUE = 1, OOM = 2, NOT_INITIALIZED = 3, STUB = 34, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, INVALID_PTX = 218,
	PEER_UNSUPPORTED = 217, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600, ILLEGAL_ADDRESS = 700, PEER_ENABLED = 704,
	NOT_PERMITTED = 800 };
static const struct { R code; const char *name, *text; } results[] = {
	{0, "CUDA_SUCCESS", "no error"}, {1, "CUDA_ERROR_INVALID_VALUE", "invalid argument"}, {2, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
	{3, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"}, {34, "CUDA_ERROR_STUB_LIBRARY", "CUDA driver is a stub library"},
	{100, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"}, {101, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
	{201, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}, {217, "CUDA_ERROR_PEER_ACCESS_UNSUPPORTED", "peer access is not supported between these two devices"},
	{218, "CUDA_ERROR_INVALID_PTX", "a PTX JIT compilation failed"}, {400, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
	{500, "CUDA_ERROR_NOT_FOUND", "named symbol not found"}, {600, "CUDA_ERROR_NOT_READY", "device not ready"},
	{700, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
	{704, "CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED", "peer access is already enabled"}, {716, "CUDA_ERROR_MISALIGNED_ADDRESS", "misaligned address"},
	{719, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}, {800, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
	{801, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
};

typedef struct { uint64_t at[MAX_STREAMS]; } clocks; // at[0] is not used: the host's own knowledge is a clocks value
typedef struct context { uint32_t magic; int device, refs; R sticky; unsigned reaches; } context;
typedef struct allocation {
	DP va;
	size_t size, mapped;
	char *back;
	int device, fd, kind, freed;
	uint64_t id;
	struct allocation *next;
} allocation;
enum { DEVICE, POOL, HOST, IMPORT };
typedef struct event {
	uint32_t magic;
	uint64_t recorded, done;
	clocks vc; // at the last record that has happened
	_Atomic uint64_t *shared; // recorded, done: of an event that processes share
	int fd, imported;
} event;
typedef struct module { uint32_t magic; long id; int used; } module;
typedef struct kernel { uint32_t magic; module *m; char name[128]; int n, offset[MAX_PARAMETERS], size[MAX_PARAMETERS], total; } kernel;
typedef struct op {
	int kind;
	DP dst, src;
	size_t n;
	unsigned value, blocks[2], threads;
	event *e;
	uint64_t generation;
	kernel *k;
	unsigned char *parameters;
	clocks host;
	struct op *next;
} op;
enum { COPY, FILL, RECORD, WAIT, WAIT_VALUE, KERNEL, FREE };
typedef struct stream {
	uint32_t magic;
	int id;
	context *c;
	pthread_t thread;
	pthread_cond_t news;
	op *head, *tail, *now;
	int stop;
	clocks vc;
	struct stream *next;
} stream;
typedef struct access { DP lo, hi; int write, stream; uint64_t tick; const char *what; struct access *next; } access_;

enum { CONTEXT = 0xc0de0001, EVENT, MODULE, KERN, STREAM };

static pthread_mutex_t G = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t progress = PTHREAD_COND_INITIALIZER;
static int started, initialized, devices = 2, delay_us, apart;
static size_t capacity = (size_t)1 << 32;
static size_t in_use[MAX_DEVICES];
static unsigned seed;
static context contexts[MAX_DEVICES];
static allocation *allocations;
static stream *streams, *defaults[MAX_DEVICES];
static int stream_ids, free_ids[MAX_STREAMS], n_free_ids;
static uint64_t allocation_ids;
static clocks host;
static access_ *accesses;
static int n_accesses;
static char violations[8192];
static int n_violations;
static stream card; // what network cards store counts as the work of stream number 0, which only a flush waits for
static int flushes, ordering, addressable;
static __thread context *stack[16];
static __thread int depth;

static struct { char name[64]; int nth, code, seen; } fault;

// What executes kernels.
static long (*x_load)(const char *text);
static int (*x_kernel)(long module, const char *name, int *offsets, int *sizes, int max);
static int (*x_launch)(long module, const char *name, unsigned bx, unsigned by, unsigned threads, unsigned char *parameters, int n, int device, int stream);

static void violation(const char *format, ...) {
	va_list a;
	va_start(a, format);
	size_t n = strlen(violations);
	if (n + 200 < sizeof violations) {
		n += vsnprintf(violations + n, sizeof violations - n - 1, format, a);
		if (n < sizeof violations - 1)
			strcat(violations, "\n");
	}
	n_violations++;
	va_end(a);
}

static R injected(const char *name) {
	if (fault.nth && !strcmp(name, fault.name) && ++fault.seen == fault.nth)
		return fault.code;
	return 0;
}

#define LOCK() pthread_mutex_lock(&G)
#define RETURN(r) do { R r_ = (r); pthread_mutex_unlock(&G); return r_; } while (0)
#define ENTER() do { LOCK(); if (!initialized) RETURN(NOT_INITIALIZED); R i_ = injected(__func__); if (i_) RETURN(i_); } while (0)
#define CURRENT (depth ? stack[depth - 1] : NULL)
#define NEED_CONTEXT() do { ENTER(); if (!CURRENT) RETURN(INVALID_CONTEXT); if (CURRENT->sticky) RETURN(CURRENT->sticky); } while (0)

// Control, for tests.

API int standin_start(void *load, void *kern, void *launch, int n_devices, int delay, unsigned random, size_t bytes, int no_peers) {
	LOCK();
	x_load = load, x_kernel = kern, x_launch = launch;
	devices = n_devices, delay_us = delay, seed = random, apart = no_peers;
	if (bytes)
		capacity = bytes;
	started = 1;
	RETURN(0);
}
API void standin_fail(const char *name, int nth, int code) {
	LOCK();
	snprintf(fault.name, sizeof fault.name, "%s", name);
	fault.nth = nth, fault.code = code, fault.seen = 0;
	pthread_mutex_unlock(&G);
}
API void standin_delay(int delay) { LOCK(); delay_us = delay; pthread_mutex_unlock(&G); }
API int standin_violations(char *text, size_t n) {
	LOCK();
	int count = n_violations;
	snprintf(text, n, "%s", violations);
	n_violations = 0, violations[0] = 0;
	RETURN(count);
}
API size_t standin_live(void) { // bytes of device memory that are allocated
	LOCK();
	size_t n = 0;
	for (int i = 0; i < MAX_DEVICES; i++)
		n += in_use[i];
	pthread_mutex_unlock(&G);
	return n;
}

API void standin_direct(int flush_options, int order) { LOCK(); flushes = flush_options, ordering = order; pthread_mutex_unlock(&G); }

API void standin_addressable(int yes) { LOCK(); addressable = yes; pthread_mutex_unlock(&G); }

// Memory.

static allocation *find(DP p, size_t n) {
	for (allocation *a = allocations; a; a = a->next)
		if (!a->freed && p >= a->va && n <= a->size && p - a->va <= a->size - n)
			return a;
	return NULL;
}

static allocation *add(DP va, size_t size, size_t mapped, char *back, int kind, int device, int fd) {
	allocation *a = calloc(1, sizeof *a);
	*a = (allocation){.va = va, .size = size, .mapped = mapped, .back = back, .kind = kind, .device = device, .fd = fd, .id = ++allocation_ids, .next = allocations};
	return allocations = a;
}

static size_t pages(size_t n) { return (n + 4095) & ~(size_t)4095; }

static R map(int fd, size_t n, int kind, int device, DP *p) {
	void *va = mmap(NULL, pages(n), addressable ? PROT_READ | PROT_WRITE : PROT_NONE, MAP_SHARED, fd, 0), *back = mmap(NULL, pages(n), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (va == MAP_FAILED || back == MAP_FAILED)
		return OOM;
	add((DP)(uintptr_t)va, n, pages(n), back, kind, device, fd);
	*p = (DP)(uintptr_t)va;
	return 0;
}

static R allocate(DP *p, size_t n, int kind) {
	int device = CURRENT->device;
	if (!n || !p)
		return INVALID_VALUE;
	if (n > capacity || in_use[device] > capacity - n)
		return OOM;
	int fd = memfd_create("standin", MFD_CLOEXEC);
	if (fd < 0 || ftruncate(fd, pages(n)))
		return OOM;
	R r = map(fd, n, kind, device, p);
	if (!r) {
		in_use[device] += n;
		memset(find(*p, 1)->back, 0xA5, n); // nobody may count on zeros
	}
	return r;
}

static void discard(allocation *a) {
	if (a->kind == DEVICE || a->kind == POOL)
		in_use[a->device] -= a->size;
	munmap((void *)(uintptr_t)a->va, a->mapped);
	if (a->kind != HOST) {
		munmap(a->back, a->mapped);
		close(a->fd);
	}
	a->freed = 1;
}

static char *reach(context *c, DP p, size_t n) {
	allocation *a = find(p, n);
	if (!a || (a->kind != HOST && a->kind != IMPORT && a->device != c->device && !(c->reaches >> a->device & 1)))
		return NULL;
	return a->back + (p - a->va);
}

// The executor's view: the allocations that a device reaches, as va, size, back, four at a time.
API int standin_table(int device, uint64_t *out, int max) {
	LOCK();
	int n = 0;
	for (allocation *a = allocations; a; a = a->next)
		if (!a->freed && reach(&contexts[device], a->va, 1)) {
			if (n < max)
				out[3 * n] = a->va, out[3 * n + 1] = a->size, out[3 * n + 2] = (uint64_t)(uintptr_t)a->back;
			n++;
		}
	RETURN(n);
}

// Order.

static void join(clocks *to, const clocks *from) {
	for (int i = 0; i <= stream_ids; i++)
		if (to->at[i] < from->at[i])
			to->at[i] = from->at[i];
}

// touch notes an access of the op that runs on s and compares it with those before.
static void touch(stream *s, DP lo, size_t n, int write, const char *what) {
	DP hi = lo + n;
	if (!n)
		return;
	for (access_ **p = &accesses; *p;) {
		access_ *x = *p;
		if (x->lo < hi && lo < x->hi && (x->write || write) && x->stream != s->id && s->vc.at[x->stream] < x->tick)
			violation("race: %s of stream %d %s %llu bytes that %s of stream %d %s, and is not ordered after it", what, s->id,
				write ? "writes" : "reads", (unsigned long long)((hi < x->hi ? hi : x->hi) - (lo > x->lo ? lo : x->lo)), x->what, x->stream, x->write ? "wrote" : "read");
		// What the host has waited for, and what this access covers and comes after, is of no further interest.
		if ((x->stream == s->id && x->lo >= lo && x->hi <= hi && write >= x->write) || (n_accesses > 2000 && host.at[x->stream] >= x->tick)) {
			*p = x->next;
			free(x);
			n_accesses--;
		} else
			p = &x->next;
	}
	access_ *x = malloc(sizeof *x);
	*x = (access_){lo, hi, write, s->id, s->vc.at[s->id], what, accesses};
	accesses = x;
	n_accesses++;
}

API void standin_touched(int id, uint64_t lo, uint64_t n, int write) {
	LOCK();
	for (stream *s = streams; s; s = s->next)
		if (s->id == id && !s->stop)
			touch(s, lo, n, write, "a kernel");
	pthread_mutex_unlock(&G);
}

// A network card may store in n bytes from now on (0), has stored there (1), or will not do so after all (2).
API void standin_card(DP p, size_t n, int what) {
	LOCK();
	allocation *a = find(p, n);
	if (!a || a->kind != DEVICE)
		violation("a network card has a place of %zu bytes in what is no memory of a device", n);
	else if (what < 2) {
		uint64_t tick = card.vc.at[0] + 1;
		card.vc = host;
		card.vc.at[0] = tick;
		touch(&card, p, n, 1, "a network card");
	} else
		for (access_ **q = &accesses; *q;) {
			access_ *x = *q;
			if (x->stream == 0 && x->lo < p + n && p < x->hi) {
				*q = x->next;
				free(x);
				n_accesses--;
			} else
				q = &x->next;
		}
	pthread_mutex_unlock(&G);
}

// What cards have stored so far is there for all work that is begun from now on.
static void settle(void) { host.at[0] = card.vc.at[0]; }
API void standin_settle(void) { LOCK(); settle(); pthread_mutex_unlock(&G); }
API R cuFlushGPUDirectRDMAWrites(int target, int scope) {
	NEED_CONTEXT();
	if (target || (scope != 100 && scope != 200))
		RETURN(INVALID_VALUE);
	if (!(flushes & 1))
		RETURN(801);
	settle();
	RETURN(0);
}

static int refers(op *o, allocation *a) {
	DP end = a->va + a->size;
	if (o->kind == COPY || o->kind == FILL)
		return (o->dst >= a->va && o->dst < end) || (o->kind == COPY && o->src >= a->va && o->src < end);
	if (o->kind == KERNEL)
		for (int i = 0; i < o->k->n; i++)
			if (o->k->size[i] == 8) {
				DP v;
				memcpy(&v, o->parameters + o->k->offset[i], 8);
				if (v >= a->va && v < end)
					return 1;
			}
	return 0;
}

// release checks that nothing in flight uses an allocation, waits as the driver does, and frees it.
static void release(allocation *a, const char *call) {
	for (stream *s = streams; s; s = s->next) {
		int used = s->now && refers(s->now, a);
		for (op *o = s->head; o; o = o->next)
			used |= refers(o, a);
		if (used)
			violation("%s of %zu bytes that work in flight on stream %d uses", call, a->size, s->id);
		while (used && (s->head || s->now))
			pthread_cond_wait(&progress, &G);
	}
	for (access_ **p = &accesses; *p;) {
		access_ *x = *p;
		if (x->lo < a->va + a->size && a->va < x->hi) {
			if (host.at[x->stream] < x->tick)
				violation("%s of memory that %s of stream %d %s, without having waited for it", call, x->what, x->stream, x->write ? "wrote" : "read");
			*p = x->next;
			free(x);
			n_accesses--;
		} else
			p = &x->next;
	}
	discard(a);
}

// Streams.

static R perform(stream *s, op *o) {
	char *d, *q;
	switch (o->kind) {
	case COPY:
		d = reach(s->c, o->dst, o->n), q = reach(s->c, o->src, o->n);
		if (!d || !q)
			return ILLEGAL_ADDRESS;
		touch(s, o->src, o->n, 0, "a copy");
		touch(s, o->dst, o->n, 1, "a copy");
		memmove(d, q, o->n);
		return 0;
	case FILL:
		if (!(d = reach(s->c, o->dst, o->n)))
			return ILLEGAL_ADDRESS;
		touch(s, o->dst, o->n, 1, "a fill");
		memset(d, (int)o->value, o->n);
		return 0;
	case RECORD:
		o->e->vc = s->vc;
		if (o->e->shared) {
			if (o->e->shared[1] < o->generation)
				o->e->shared[1] = o->generation;
		} else if (o->e->done < o->generation)
			o->e->done = o->generation;
		return 0;
	case WAIT:
		while ((o->e->shared ? o->e->shared[1] : o->e->done) < o->generation && !s->stop) {
			if (o->e->shared) {
				pthread_mutex_unlock(&G);
				nanosleep(&(struct timespec){0, 20000}, NULL);
				LOCK();
			} else
				pthread_cond_wait(&progress, &G);
		}
		join(&s->vc, &o->e->vc);
		return 0;
	case WAIT_VALUE:
		if (!(q = reach(s->c, o->dst, 4)))
			return ILLEGAL_ADDRESS;
		while ((int32_t)(atomic_load((_Atomic uint32_t *)q) - o->value) < 0 && !s->stop) {
			pthread_mutex_unlock(&G);
			nanosleep(&(struct timespec){0, 20000}, NULL);
			LOCK();
		}
		join(&s->vc, &host); // whoever stored the value knew what the host knows
		return 0;
	case KERNEL: {
		pthread_mutex_unlock(&G);
		R r = x_launch(o->k->m->id, o->k->name, o->blocks[0], o->blocks[1], o->threads, o->parameters, o->k->total, s->c->device, s->id);
		LOCK();
		return r;
	}
	case FREE: {
		allocation *a = find(o->dst, 1);
		if (!a || a->kind != POOL)
			return ILLEGAL_ADDRESS;
		touch(s, a->va, a->size, 1, "a free");
		discard(a);
		return 0;
	}
	}
	return 0;
}

static void *work(void *v) {
	stream *s = v;
	LOCK();
	for (;;) {
		while (!s->head && !s->stop)
			pthread_cond_wait(&s->news, &G);
		if (!s->head)
			break;
		op *o = s->head;
		if (!(s->head = o->next))
			s->tail = NULL;
		s->now = o;
		if (delay_us && o->kind != RECORD) {
			long ns = 1000L * (rand_r(&seed) % (unsigned)(delay_us + 1));
			pthread_mutex_unlock(&G);
			nanosleep(&(struct timespec){0, ns}, NULL);
			LOCK();
		}
		join(&s->vc, &o->host);
		s->vc.at[s->id]++;
		R r = s->c->sticky && o->kind != RECORD ? 0 : perform(s, o);
		if (r)
			s->c->sticky = r;
		if (o->kind == KERNEL)
			o->k->m->used--;
		s->now = NULL;
		free(o->parameters);
		free(o);
		pthread_cond_broadcast(&progress);
	}
	pthread_mutex_unlock(&G);
	return NULL;
}

static stream *new_stream(context *c) {
	if (!n_free_ids && stream_ids + 1 >= MAX_STREAMS)
		return NULL;
	stream *s = calloc(1, sizeof *s);
	*s = (stream){.magic = STREAM, .id = n_free_ids ? free_ids[--n_free_ids] : ++stream_ids, .c = c, .next = streams};
	s->vc.at[s->id] = host.at[s->id];
	pthread_cond_init(&s->news, NULL);
	streams = s;
	pthread_create(&s->thread, NULL, work, s);
	return s;
}

// valid returns the stream that a handle stands for, if it is of the current context.
static stream *valid(stream *s) {
	if (!s) {
		context *c = CURRENT;
		if (!defaults[c->device])
			defaults[c->device] = new_stream(c);
		return defaults[c->device];
	}
	return s->magic == STREAM && s->c == CURRENT ? s : NULL;
}

static R push(stream *s, op o) {
	if (!(s = valid(s)))
		return INVALID_HANDLE;
	op *x = malloc(sizeof *x);
	*x = o;
	x->host = host;
	x->next = NULL;
	if (s->tail)
		s->tail->next = x;
	else
		s->head = x;
	s->tail = x;
	pthread_cond_signal(&s->news);
	return 0;
}

API R cuInit(unsigned flags) {
	LOCK();
	if (flags)
		RETURN(INVALID_VALUE);
	if (!started)
		RETURN(STUB);
	R r = injected(__func__);
	if (r)
		RETURN(r);
	if (devices <= 0)
		RETURN(100);
	initialized = 1;
	RETURN(0);
}
API R cuDriverGetVersion(int *v) { *v = 12040; return 0; }
static R result(R r, const char **s, int text) {
	for (size_t i = 0; i < sizeof results / sizeof *results; i++)
		if (results[i].code == r) {
			*s = text ? results[i].text : results[i].name;
			return 0;
		}
	return INVALID_VALUE;
}
API R cuGetErrorName(R r, const char **s) { return result(r, s, 0); }
API R cuGetErrorString(R r, const char **s) { return result(r, s, 1); }
API R cuDeviceGetCount(int *n) { ENTER(); *n = devices; RETURN(0); }
API R cuDeviceGet(int *d, int i) { ENTER(); if (i < 0 || i >= devices) RETURN(INVALID_DEVICE); *d = i; RETURN(0); }
#define NEED_DEVICE(d) do { ENTER(); if (d < 0 || d >= devices) RETURN(INVALID_DEVICE); } while (0)
API R cuDeviceGetName(char *s, int n, int d) { NEED_DEVICE(d); snprintf(s, n, "Stand-in %d", d); RETURN(0); }
API R cuDeviceGetUuid(char *s, int d) { NEED_DEVICE(d); memcpy(s, "ringtreestandin", 15); s[15] = (char)d; RETURN(0); }
API R cuDeviceGetPCIBusId(char *s, int n, int d) { NEED_DEVICE(d); snprintf(s, n, "0000:%02X:00.0", 0x10 + d); RETURN(0); }
API R cuDeviceGetAttribute(int *v, int a, int d) {
	NEED_DEVICE(d);
	*v = a == 75 ? 8 : a == 16 ? 4 : a == 41 || a == 115 ? 1 : a == 117 ? flushes : a == 118 ? ordering : 0;
	RETURN(0);
}
API R cuDeviceTotalMem_v2(size_t *n, int d) { NEED_DEVICE(d); *n = capacity; RETURN(0); }
API R cuDeviceCanAccessPeer(int *yes, int d, int peer) { NEED_DEVICE(d); if (peer < 0 || peer >= devices) RETURN(INVALID_DEVICE); *yes = d != peer && !apart; RETURN(0); }
API R cuDevicePrimaryCtxRetain(context **c, int d) {
	NEED_DEVICE(d);
	contexts[d].magic = CONTEXT, contexts[d].device = d, contexts[d].refs++;
	*c = &contexts[d];
	RETURN(0);
}
API R cuDevicePrimaryCtxRelease_v2(int d) { NEED_DEVICE(d); if (contexts[d].refs <= 0) RETURN(INVALID_CONTEXT); contexts[d].refs--; RETURN(0); }
API R cuCtxPushCurrent_v2(context *c) {
	ENTER();
	if (!c || c->magic != CONTEXT || c->refs <= 0)
		RETURN(INVALID_CONTEXT);
	if (depth == 16)
		RETURN(INVALID_VALUE);
	stack[depth++] = c;
	RETURN(0);
}
API R cuCtxPopCurrent_v2(context **c) { LOCK(); if (!depth) RETURN(INVALID_CONTEXT); *c = stack[--depth]; RETURN(0); }
API R cuCtxEnablePeerAccess(context *peer, unsigned flags) {
	NEED_CONTEXT();
	if (flags || !peer || peer->magic != CONTEXT || peer == CURRENT)
		RETURN(INVALID_VALUE);
	if (apart)
		RETURN(PEER_UNSUPPORTED);
	if (CURRENT->reaches >> peer->device & 1)
		RETURN(PEER_ENABLED);
	CURRENT->reaches |= 1u << peer->device;
	RETURN(0);
}

API R cuMemGetInfo_v2(size_t *free_, size_t *total) { NEED_CONTEXT(); *total = capacity; *free_ = capacity - in_use[CURRENT->device]; RETURN(0); }
API R cuMemAlloc_v2(DP *p, size_t n) { NEED_CONTEXT(); RETURN(allocate(p, n, DEVICE)); }
API R cuMemFree_v2(DP p) {
	NEED_CONTEXT();
	allocation *a = p ? find(p, 1) : NULL;
	if (!p)
		RETURN(0);
	if (!a || a->va != p || a->kind != DEVICE) {
		violation("cuMemFree of an address that is no allocation (freed twice?)");
		RETURN(INVALID_VALUE);
	}
	release(a, "cuMemFree");
	RETURN(0);
}
API R cuMemAllocAsync(DP *p, size_t n, stream *s) { NEED_CONTEXT(); if (!valid(s)) RETURN(INVALID_HANDLE); RETURN(allocate(p, n, POOL)); }
API R cuMemFreeAsync(DP p, stream *s) { NEED_CONTEXT(); allocation *a = find(p, 1); if (!a || a->kind != POOL || a->va != p) RETURN(INVALID_VALUE); RETURN(push(s, (op){.kind = FREE, .dst = p, .n = 1})); }
API R cuMemHostAlloc(void **p, size_t n, unsigned flags) {
	NEED_CONTEXT();
	if (!n || flags & ~7u)
		RETURN(INVALID_VALUE);
	void *b = mmap(NULL, pages(n), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (b == MAP_FAILED)
		RETURN(OOM);
	memset(b, 0xA5, n);
	add((DP)(uintptr_t)b, n, pages(n), b, HOST, -1, -1);
	*p = b;
	RETURN(0);
}
API R cuMemFreeHost(void *p) {
	NEED_CONTEXT();
	allocation *a = find((DP)(uintptr_t)p, 1);
	if (!a || a->kind != HOST || a->va != (DP)(uintptr_t)p)
		RETURN(INVALID_VALUE);
	release(a, "cuMemFreeHost");
	RETURN(0);
}
API R cuMemGetAddressRange_v2(DP *base, size_t *n, DP p) {
	NEED_CONTEXT();
	allocation *a = find(p, 1);
	if (!a || a->kind == HOST)
		RETURN(NOT_FOUND);
	if (base)
		*base = a->va;
	if (n)
		*n = a->size;
	RETURN(0);
}
API R cuPointerGetAttribute(void *out, int attribute, DP p) {
	NEED_CONTEXT();
	allocation *a = find(p, 1);
	if (!a)
		RETURN(INVALID_VALUE);
	if (attribute == 7)
		*(unsigned long long *)out = a->id;
	else if (attribute == 9)
		*(int *)out = a->device;
	else
		RETURN(INVALID_VALUE);
	RETURN(0);
}
API R cuMemGetHandleForAddressRange(void *out, DP p, size_t n, int type, unsigned long long flags) {
	NEED_CONTEXT();
	allocation *a = find(p, 1); // the rest of the last page is the allocation's
	if (!a || a->kind != DEVICE || type != 1 || flags || p % 4096 || !n || n % 4096 || n > a->mapped - (p - a->va))
		RETURN(INVALID_VALUE);
	// A memfd stands for the dma-buf: a file of the range alone, as that is, would need a driver.
	int fd = p == a->va ? fcntl(a->fd, F_DUPFD_CLOEXEC, 0) : -1;
	if (fd < 0)
		RETURN(801);
	*(int *)out = fd;
	RETURN(0);
}

// Between processes: the memfds, by way of /proc.

typedef struct { char bytes[64]; } handle;
typedef struct { uint32_t magic; int pid, fd, device; uint64_t size; } ticket;

API R cuIpcGetMemHandle(handle *h, DP p) {
	NEED_CONTEXT();
	allocation *a = find(p, 1);
	if (!a || a->kind != DEVICE)
		RETURN(INVALID_VALUE);
	memset(h, 0, sizeof *h);
	memcpy(h, &(ticket){0x1bc, getpid(), a->fd, a->device, a->size}, sizeof(ticket));
	RETURN(0);
}
static int open_ticket(const ticket *t) {
	char path[64];
	snprintf(path, sizeof path, "/proc/%d/fd/%d", t->pid, t->fd);
	return open(path, O_RDWR | O_CLOEXEC);
}
API R cuIpcOpenMemHandle_v2(DP *p, handle h, unsigned flags) {
	NEED_CONTEXT();
	ticket t;
	memcpy(&t, &h, sizeof t);
	if (flags != 1)
		RETURN(INVALID_VALUE);
	if (t.magic != 0x1bc || t.device < 0 || t.device >= devices)
		RETURN(INVALID_HANDLE);
	if (t.pid == getpid())
		RETURN(INVALID_CONTEXT);
	if (apart && t.device != CURRENT->device)
		RETURN(PEER_UNSUPPORTED);
	int fd = open_ticket(&t);
	if (fd < 0)
		RETURN(INVALID_HANDLE);
	RETURN(map(fd, t.size, IMPORT, CURRENT->device, p));
}
API R cuIpcCloseMemHandle(DP p) {
	NEED_CONTEXT();
	allocation *a = find(p, 1);
	if (!a || a->va != p || a->kind != IMPORT)
		RETURN(INVALID_VALUE);
	release(a, "cuIpcCloseMemHandle");
	RETURN(0);
}

// Events.

API R cuEventCreate(event **e, unsigned flags) {
	NEED_CONTEXT();
	event *x = calloc(1, sizeof *x);
	x->magic = EVENT, x->fd = -1;
	if (flags & 4) {
		if (!(flags & 2)) {
			free(x);
			RETURN(INVALID_VALUE);
		}
		x->fd = memfd_create("standin-event", MFD_CLOEXEC);
		if (x->fd < 0 || ftruncate(x->fd, 4096))
			RETURN(OOM);
		x->shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, x->fd, 0);
	}
	*e = x;
	RETURN(0);
}
#define NEED_EVENT(e) do { NEED_CONTEXT(); if (!e || e->magic != EVENT) RETURN(INVALID_HANDLE); } while (0)
API R cuEventDestroy_v2(event *e) { NEED_EVENT(e); e->magic = 0; if (e->fd >= 0) close(e->fd); RETURN(0); } // streams may still hold it: never freed
API R cuIpcGetEventHandle(handle *h, event *e) {
	NEED_EVENT(e);
	if (!e->shared || e->imported)
		RETURN(INVALID_HANDLE);
	memset(h, 0, sizeof *h);
	memcpy(h, &(ticket){0x1be, getpid(), e->fd, 0, 0}, sizeof(ticket));
	RETURN(0);
}
API R cuIpcOpenEventHandle(event **e, handle h) {
	NEED_CONTEXT();
	ticket t;
	memcpy(&t, &h, sizeof t);
	int fd = t.magic == 0x1be && t.pid != getpid() ? open_ticket(&t) : -1;
	if (fd < 0)
		RETURN(INVALID_HANDLE);
	event *x = calloc(1, sizeof *x);
	x->magic = EVENT, x->fd = fd, x->imported = 1;
	x->shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	*e = x;
	RETURN(0);
}
static uint64_t recorded(event *e) { return e->shared ? e->shared[0] : e->recorded; }
static int happened(event *e) { return (e->shared ? e->shared[1] : e->done) >= recorded(e); }
API R cuEventRecord(event *e, stream *s) {
	NEED_EVENT(e);
	uint64_t g = e->shared ? ++e->shared[0] : ++e->recorded;
	RETURN(push(s, (op){.kind = RECORD, .e = e, .generation = g}));
}
API R cuEventQuery(event *e) {
	NEED_EVENT(e);
	if (!happened(e))
		RETURN(NOT_READY);
	join(&host, &e->vc);
	RETURN(CURRENT->sticky);
}
API R cuEventSynchronize(event *e) {
	NEED_EVENT(e);
	while (!happened(e)) {
		if (e->shared) {
			pthread_mutex_unlock(&G);
			nanosleep(&(struct timespec){0, 20000}, NULL);
			LOCK();
		} else
			pthread_cond_wait(&progress, &G);
	}
	join(&host, &e->vc);
	RETURN(CURRENT->sticky);
}

API R cuStreamCreateWithPriority(stream **s, unsigned flags, int priority) {
	(void)priority;
	NEED_CONTEXT();
	if (flags > 1)
		RETURN(INVALID_VALUE);
	RETURN((*s = new_stream(CURRENT)) ? 0 : OOM);
}
API R cuStreamDestroy_v2(stream *s) {
	NEED_CONTEXT();
	if (!s || !valid(s))
		RETURN(INVALID_HANDLE);
	s->magic = 0;
	while (s->head || s->now)
		pthread_cond_wait(&progress, &G);
	// What the host has waited for is before all that is given to any stream from now on, so the number can be another's.
	if (host.at[s->id] >= s->vc.at[s->id])
		free_ids[n_free_ids++] = s->id;
	s->stop = 1;
	pthread_cond_signal(&s->news);
	pthread_mutex_unlock(&G);
	pthread_join(s->thread, NULL);
	return 0;
}
API R cuStreamSynchronize(stream *s) {
	NEED_CONTEXT();
	if (!(s = valid(s)))
		RETURN(INVALID_HANDLE);
	while (s->head || s->now)
		pthread_cond_wait(&progress, &G);
	join(&host, &s->vc);
	RETURN(CURRENT->sticky);
}
API R cuStreamQuery(stream *s) {
	NEED_CONTEXT();
	if (!(s = valid(s)))
		RETURN(INVALID_HANDLE);
	if (s->head || s->now)
		RETURN(NOT_READY);
	join(&host, &s->vc);
	RETURN(CURRENT->sticky);
}
API R cuStreamWaitEvent(stream *s, event *e, unsigned flags) {
	NEED_EVENT(e);
	if (flags)
		RETURN(INVALID_VALUE);
	RETURN(push(s, (op){.kind = WAIT, .e = e, .generation = recorded(e)}));
}
API R cuStreamWaitValue32_v2(stream *s, DP p, uint32_t v, unsigned flags) {
	NEED_CONTEXT();
	if (flags || p % 4 || !find(p, 4))
		RETURN(INVALID_VALUE);
	RETURN(push(s, (op){.kind = WAIT_VALUE, .dst = p, .value = v}));
}

// Copies: asynchronous ones take pinned host memory only, though the driver would make do with other memory.

static R copy(DP d, DP q, size_t n, stream *s, int d_host, int q_host) {
	allocation *to = find(d, n), *from = find(q, n);
	if (!to || !from) {
		violation("asynchronous copy of %zu bytes from or to memory that is neither the device's nor pinned", n);
		return INVALID_VALUE;
	}
	if ((d_host >= 0 && d_host != (to->kind == HOST)) || (q_host >= 0 && q_host != (from->kind == HOST)))
		return INVALID_VALUE;
	return push(s, (op){.kind = COPY, .dst = d, .src = q, .n = n});
}
API R cuMemcpyAsync(DP d, DP q, size_t n, stream *s) { NEED_CONTEXT(); RETURN(copy(d, q, n, s, -1, -1)); }
API R cuMemcpyHtoDAsync_v2(DP d, const void *q, size_t n, stream *s) { NEED_CONTEXT(); RETURN(copy(d, (DP)(uintptr_t)q, n, s, 0, 1)); }
API R cuMemcpyDtoHAsync_v2(void *d, DP q, size_t n, stream *s) { NEED_CONTEXT(); RETURN(copy((DP)(uintptr_t)d, q, n, s, 1, 0)); }
API R cuMemcpyPeerAsync(DP d, context *dc, DP q, context *qc, size_t n, stream *s) {
	NEED_CONTEXT();
	if (!dc || dc->magic != CONTEXT || !qc || qc->magic != CONTEXT)
		RETURN(INVALID_CONTEXT);
	RETURN(copy(d, q, n, s, 0, 0));
}
API R cuMemsetD8Async(DP d, unsigned char v, size_t n, stream *s) { NEED_CONTEXT(); if (!find(d, n)) RETURN(INVALID_VALUE); RETURN(push(s, (op){.kind = FILL, .dst = d, .n = n, .value = v})); }

// Modules. The executor must not be called on the caller's thread, which may not be ready to be called back: a thread of the
// stand-in's own does it.

typedef struct { const char *text; long id; kernel *k; int n; } errand;
static void *do_load(void *v) { errand *e = v; e->id = x_load(e->text); return NULL; }
static void *do_kernel(void *v) { errand *e = v; e->n = x_kernel(e->id, e->k->name, e->k->offset, e->k->size, MAX_PARAMETERS); return NULL; }
static void elsewhere(void *(*f)(void *), errand *e) {
	pthread_t t;
	pthread_create(&t, NULL, f, e);
	pthread_join(t, NULL);
}

API R cuModuleLoadDataEx(module **m, const void *image, unsigned n, int *options, void **values) {
	(void)options, (void)values;
	NEED_CONTEXT();
	pthread_mutex_unlock(&G);
	if (n)
		return INVALID_VALUE;
	errand e = {.text = image};
	elsewhere(do_load, &e);
	if (e.id < 0)
		return INVALID_PTX;
	module *x = calloc(1, sizeof *x);
	x->magic = MODULE, x->id = e.id;
	*m = x;
	return 0;
}
API R cuModuleUnload(module *m) {
	NEED_CONTEXT();
	if (!m || m->magic != MODULE)
		RETURN(INVALID_HANDLE);
	if (m->used)
		violation("cuModuleUnload with %d kernels in flight", m->used);
	m->magic = 0; // streams may hold it: never freed
	RETURN(0);
}
API R cuModuleGetFunction(kernel **k, module *m, const char *name) {
	NEED_CONTEXT();
	if (!m || m->magic != MODULE)
		RETURN(INVALID_HANDLE);
	pthread_mutex_unlock(&G);
	kernel *x = calloc(1, sizeof *x);
	x->magic = KERN, x->m = m;
	snprintf(x->name, sizeof x->name, "%s", name);
	errand e = {.id = m->id, .k = x};
	elsewhere(do_kernel, &e);
	if ((x->n = e.n) < 0) {
		free(x);
		return NOT_FOUND;
	}
	for (int i = 0; i < x->n; i++)
		x->total = x->offset[i] + x->size[i];
	*k = x;
	return 0;
}
API R cuLaunchKernel(kernel *k, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, stream *s, void **parameters, void **extra) {
	NEED_CONTEXT();
	if (!k || k->magic != KERN || k->m->magic != MODULE)
		RETURN(INVALID_HANDLE);
	if (!gx || !gy || gy > 65535 || gz != 1 || !bx || bx > 1024 || by != 1 || bz != 1 || shared || extra || (k->n && !parameters))
		RETURN(INVALID_VALUE);
	op o = {.kind = KERNEL, .k = k, .blocks = {gx, gy}, .threads = bx};
	o.parameters = calloc(1, k->total + 8);
	for (int i = 0; i < k->n; i++)
		memcpy(o.parameters + k->offset[i], parameters[i], k->size[i]);
	R r = push(s, o);
	if (!r)
		k->m->used++;
	RETURN(r);
}
