// A stand-in for NVIDIA's management library, for tests: a few hosts by name, and strict about handles, order and room.
// RINGTREE_NVML_HOST says which host it is, RINGTREE_NVML_FAIL="FUNCTION:CODE" what fails.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../abi.h"

#define EXPORT __attribute__((visibility("default")))

enum { none, cube, pairs, switched, mig } host;
static int started;
struct nvmlDevice_st { int index, part; }; // part 0: the whole
static struct nvmlDevice_st handles[8][8];

static int failing(const char *name) {
	const char *s = getenv("RINGTREE_NVML_FAIL");
	size_t n = strlen(name);
	return s && strncmp(s, name, n) == 0 && s[n] == ':' ? atoi(s + n + 1) : 0;
}

static int count(void) { return host == none ? 0 : host == pairs ? 4 : host == mig ? 1 : 8; }

// enter checks what every call must have.
static int enter(const char *name, nvmlDevice_t d) {
	if (!started)
		return 1; // NVML_ERROR_UNINITIALIZED
	if (d && (d < &handles[0][0] || d > &handles[7][7] || d->index >= count()))
		return 2; // NVML_ERROR_INVALID_ARGUMENT
	return failing(name);
}
#define ENTER(d) { int r = enter(__func__, d); if (r) return r; }
#define WHOLE(d) ENTER(d) if (!(d) || (d)->part) return 2;

static int say(char *to, unsigned room, const char *text) {
	if (strlen(text) + 1 > room)
		return 7; // NVML_ERROR_INSUFFICIENT_SIZE
	strcpy(to, text);
	return 0;
}

static void address(int index, nvmlPciInfo_t *p) {
	memset(p, 0, sizeof *p);
	p->bus = 0x1a + index;
	snprintf(p->busId, sizeof p->busId, "%08X:%02X:%02X.0", 0, p->bus, 0);
	snprintf(p->busIdLegacy, sizeof p->busIdLegacy, "%04X:%02X:%02X.0", 0, p->bus, 0);
}

// The hybrid cube mesh of eight GPUs with six links: by GPU, the far end of each link.
static const int mesh[8][6] = {
	{1, 2, 3, 3, 4, 4}, {0, 2, 2, 3, 5, 5}, {0, 1, 1, 3, 3, 6}, {0, 0, 1, 2, 2, 7},
	{0, 0, 5, 6, 7, 7}, {1, 1, 4, 6, 6, 7}, {2, 4, 5, 5, 7, 7}, {3, 4, 4, 5, 6, 6},
};

// remote is what link n of a GPU leads to: a GPU, -1 nothing, -2 a switch, -3 there is no such link.
static int remote(int i, unsigned n) {
	switch (host) {
	case cube: return n < 6 ? mesh[i][n] : -3;
	case pairs: return n < 4 ? (i + 2) % 4 : -3; // bridged: 0 with 2, 1 with 3
	case switched: return n < 18 ? n == 17 && i == 3 ? -1 : -2 : -3;
	default: return -3;
	}
}

EXPORT int nvmlInit_v2(void) {
	int r = failing(__func__);
	if (r)
		return r;
	const char *s = getenv("RINGTREE_NVML_HOST");
	host = !s ? none : !strcmp(s, "cube") ? cube : !strcmp(s, "pairs") ? pairs : !strcmp(s, "switched") ? switched : !strcmp(s, "mig") ? mig : none;
	for (int i = 0; i < 8; i++)
		for (int j = 0; j < 8; j++)
			handles[i][j] = (struct nvmlDevice_st){i, j};
	started++;
	return 0;
}

EXPORT int nvmlShutdown(void) { ENTER(NULL) started--; return 0; }

EXPORT const char *nvmlErrorString(int code) {
	switch (code) {
	case 2: return "Invalid Argument";
	case 3: return "Not Supported";
	case 9: return "Driver Not Loaded";
	case 15: return "GPU is lost";
	}
	return "Unknown Error";
}

EXPORT int nvmlSystemGetDriverVersion(char *text, unsigned n) { ENTER(NULL) return say(text, n, "535.1"); }
EXPORT int nvmlDeviceGetCount_v2(unsigned *n) { ENTER(NULL) *n = count(); return 0; }

EXPORT int nvmlDeviceGetHandleByIndex_v2(unsigned i, nvmlDevice_t *d) {
	ENTER(NULL)
	if (i >= (unsigned)count())
		return 2;
	*d = &handles[i][0];
	return 0;
}

EXPORT int nvmlDeviceGetName(nvmlDevice_t d, char *text, unsigned n) {
	ENTER(d)
	return say(text, n, d->part ? "Stand-in part" : "Stand-in");
}

EXPORT int nvmlDeviceGetUUID(nvmlDevice_t d, char *text, unsigned n) {
	ENTER(d)
	char s[64];
	snprintf(s, sizeof s, "%s-0000000%d-0000-0000-0000-00000000000%d", d->part ? "MIG" : "GPU", d->index, d->part);
	return say(text, n, s);
}

EXPORT int nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *p) { WHOLE(d) address(d->index, p); return 0; }
EXPORT int nvmlDeviceGetCudaComputeCapability(nvmlDevice_t d, int *major, int *minor) { WHOLE(d) *major = host == cube ? 7 : 9, *minor = 0; return 0; }

EXPORT int nvmlDeviceGetNvLinkState(nvmlDevice_t d, unsigned n, nvmlEnableState_t *s) {
	WHOLE(d)
	if (remote(d->index, n) == -3)
		return host == mig ? 3 : 2;
	*s = remote(d->index, n) != -1;
	return 0;
}

EXPORT int nvmlDeviceGetNvLinkVersion(nvmlDevice_t d, unsigned n, unsigned *v) {
	WHOLE(d)
	if (remote(d->index, n) == -3)
		return 2;
	*v = host == cube ? 2 : 4;
	return 0;
}

EXPORT int nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t d, unsigned n, nvmlPciInfo_t *p) {
	WHOLE(d)
	int r = remote(d->index, n);
	if (r == -3 || r == -1)
		return 2;
	address(r == -2 ? 100 : r, p);
	return 0;
}

EXPORT int nvmlDeviceGetNvLinkRemoteDeviceType(nvmlDevice_t d, unsigned n, nvmlIntNvLinkDeviceType_t *t) {
	WHOLE(d)
	int r = remote(d->index, n);
	if (r == -3 || r == -1)
		return 2;
	*t = r == -2 ? 2 : 0;
	return 0;
}

EXPORT int nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned *now, unsigned *later) {
	WHOLE(d)
	if (host == cube)
		return 3;
	*now = *later = host == mig;
	return 0;
}

EXPORT int nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t d, unsigned *n) { WHOLE(d) *n = 7; return 0; }

EXPORT int nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t d, unsigned i, nvmlDevice_t *part) {
	WHOLE(d)
	if (i >= 7)
		return 2;
	if (host != mig || i == 1)
		return 6; // NVML_ERROR_NOT_FOUND
	*part = &handles[d->index][1 + i];
	return 0;
}
