// How far two processors are from each other, and what memory gives them: a cache line to and fro between two bound threads, nanoseconds one
// way, and what both read and write past the caches, GB/s. On virtual machines this changes with the cores that the hypervisor picks: what hands data from
// core to core is slower on two last-level caches than on one, and what memory limits is quicker.
//
//   gcc -O3 -mavx2 -pthread -o cores cores.c && ./cores
#define _GNU_SOURCE
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { kLine = 128, kBytes = 128 << 20, kTurns = 20000, kRounds = 7 };

static _Alignas(kLine) _Atomic long ball;
static _Alignas(kLine) volatile int sink;
static char *memory;
static pthread_barrier_t together;
static double least[3] = {1e9, 1e9, 1e9}; // seconds, of the first thread

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

static void turns(long id, char *half) {
  (void)half;
  for (long i = 0; i < kTurns; i++) {
    while (atomic_load_explicit(&ball, memory_order_acquire) % (2 * kTurns) != 2 * i + id) {
    }
    atomic_fetch_add_explicit(&ball, 1, memory_order_release);
  }
}

static void readers(long id, char *half) {
  __m256i sum = _mm256_setzero_si256();
  (void)id;
  for (size_t i = 0; i < kBytes / 2; i += 64) {
    sum = _mm256_xor_si256(sum, _mm256_load_si256((void *)(half + i)));
    sum = _mm256_xor_si256(sum, _mm256_load_si256((void *)(half + i + 32)));
  }
  sink = _mm256_extract_epi32(sum, 0);
}

static void writers(long id, char *half) {
  __m256i zero = _mm256_setzero_si256();
  (void)id;
  for (size_t i = 0; i < kBytes / 2; i += 32) {
    _mm256_stream_si256((void *)(half + i), zero);
  }
  _mm_sfence();
}

static void *work(void *arg) {
  static void (*const parts[])(long, char *) = {turns, readers, writers};
  long id = (long)(intptr_t)arg;
  cpu_set_t cpus;
  CPU_ZERO(&cpus);
  CPU_SET(id, &cpus);
  if (pthread_setaffinity_np(pthread_self(), sizeof cpus, &cpus)) {
    exit(1); // there is one processor
  }
  for (int round = 0; round < kRounds; round++) {
    for (int part = 0; part < 3; part++) {
      pthread_barrier_wait(&together);
      double start = now();
      parts[part](id, memory + id * (kBytes / 2));
      pthread_barrier_wait(&together);
      double took = now() - start;
      if (id == 0 && took < least[part]) {
        least[part] = took;
      }
    }
  }
  return NULL;
}

int main(void) {
  pthread_t threads[2];
  memory = aligned_alloc(64, kBytes);
  if (!memory) {
    return 1;
  }
  memset(memory, 1, kBytes);
  pthread_barrier_init(&together, NULL, 2);
  for (long i = 0; i < 2; i++) {
    if (pthread_create(&threads[i], NULL, work, (void *)i)) {
      return 1;
    }
  }
  for (int i = 0; i < 2; i++) {
    pthread_join(threads[i], NULL);
  }
  printf("%.0f %.0f %.0f\n", least[0] / kTurns / 2 * 1e9, kBytes / least[1] / 1e9, kBytes / least[2] / 1e9);
  return 0;
}
