// Times the barest all-reduce by cross-memory attach: float32 sum, in place. Every rank reads its block straight out of the
// others' memory by process_vm_readv, adds it up in pieces that stay in the caches, and reads the other blocks where they
// are done. It is what messages between ordinary slices would cost by that way, with no library around it.
//
// usage: cma LABEL RANKS BYTES ITERATIONS      starts the ranks itself; with two, each has a core
// prints: LABEL RANKS BYTES MEDIAN P99         times in microseconds, of the slowest rank in every iteration
#define _GNU_SOURCE
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kRanks = 8, kWarmup = 5, kPiece = 256 << 10, kSpins = 100 };

typedef struct {
  _Atomic long at;
  char pad[120];
} word;

static struct shared {
  word phase[kRanks];
  pid_t pid[kRanks];
  char *memory[kRanks];
} *shared;
static int ranks, rank;
static long phases;

static void barrier(void) {
  atomic_store(&shared->phase[rank].at, ++phases);
  for (int i = 0; i < ranks; i++)
    for (int turn = 0; atomic_load(&shared->phase[i].at) < phases; turn++)
      if (ranks > 2 || turn > kSpins) sched_yield();
}

static void fetch(int peer, void *to, long at, long bytes) {
  struct iovec here = {to, bytes}, there = {shared->memory[peer] + at, bytes};
  if (process_vm_readv(shared->pid[peer], &here, 1, &there, 1, 0) == bytes) return;
  perror("cma: process_vm_readv");
  kill(0, SIGKILL); // the others would wait for ever
}

static void all_reduce(char *mine, char *piece, long bytes) {
  const long block = bytes / ranks;
  barrier();
  for (long at = rank * block, end = at + block; at < end; at += kPiece) {
    const long n = end - at < kPiece ? end - at : kPiece;
    float *sum = (float *)(mine + at);
    for (int j = 1; j < ranks; j++) {
      fetch((rank + j) % ranks, piece, at, n);
      for (long i = 0; i < n / 4; i++) sum[i] += ((float *)piece)[i];
    }
  }
  barrier();
  for (int j = 1; j < ranks; j++) {
    const int peer = (rank + j) % ranks;
    fetch(peer, mine + peer * block, peer * block, block);
  }
  barrier();
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e6 + t.tv_nsec * 1e-3;
}

static int ascending(const void *p, const void *q) {
  const double a = *(const double *)p, b = *(const double *)q;
  return a < b ? -1 : a > b;
}

static void *between_processes(long bytes) {
  void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED) exit(1);
  return p;
}

int main(int argc, char **argv) {
  if (argc != 5 || (ranks = atoi(argv[2])) < 2 || ranks > kRanks) {
    fprintf(stderr, "usage: cma LABEL RANKS BYTES ITERATIONS\n");
    return 2;
  }
  const long bytes = atol(argv[3]) / (4 * ranks) * (4 * ranks), iterations = atol(argv[4]);
  setpgid(0, 0); // so that one rank can end all
  prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
  shared = between_processes(sizeof *shared);
  double *times = between_processes(ranks * iterations * sizeof *times);
  for (rank = 0; rank < ranks - 1 && fork() != 0; rank++) {
  }
  if (ranks == 2) {
    cpu_set_t core;
    CPU_ZERO(&core);
    CPU_SET(rank % sysconf(_SC_NPROCESSORS_ONLN), &core);
    sched_setaffinity(0, sizeof core, &core);
  }
  char *mine, *piece;
  if (posix_memalign((void **)&mine, 4096, bytes) || posix_memalign((void **)&piece, 4096, kPiece)) return 1;
  for (long i = 0; i < bytes / 4; i++) ((float *)mine)[i] = rank + i % 5;
  shared->pid[rank] = getpid();
  shared->memory[rank] = mine;
  barrier();
  all_reduce(mine, piece, bytes);
  for (long i = 0; i < bytes / 4; i++) {
    if (((float *)mine)[i] != ranks * (ranks - 1) / 2 + ranks * (i % 5)) {
      fprintf(stderr, "cma: rank %d: element %ld is wrong\n", rank, i);
      kill(0, SIGKILL);
    }
  }
  memset(mine, 0, bytes);
  for (long i = -kWarmup; i < iterations; i++) {
    const double began = now();
    all_reduce(mine, piece, bytes);
    if (i >= 0) times[rank * iterations + i] = now() - began;
  }
  barrier();
  if (rank < ranks - 1) return 0;
  for (long i = 0; i < iterations; i++)
    for (int r = 1; r < ranks; r++)
      if (times[r * iterations + i] > times[i]) times[i] = times[r * iterations + i];
  qsort(times, iterations, sizeof *times, ascending);
  printf("%s %d %s %.3f %.3f\n", argv[1], ranks, argv[3], times[iterations / 2], times[iterations * 99 / 100]);
  fflush(stdout);
  while (wait(NULL) > 0) {
  }
  return 0;
}
