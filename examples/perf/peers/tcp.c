// Times the barest all-reduce of two ranks over TCP on loopback: float32 sum, in place, in clear. Each rank sends the other's half out of
// its memory over one connection, adds up its own half in pieces that stay in the caches, and sends them back over a second one, where they are
// received in place. One thread a rank, no messages, no flow control but TCP's: what is left is the kernel and the memory.
//
// usage: tcp LABEL BYTES ITERATIONS      starts both ranks itself, each on a core of its own
// prints: LABEL 2 BYTES MEDIAN P99       times in microseconds, of the slower rank in every iteration
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { kWarmup = 5, kPiece = 128 << 10 };
enum { kScatter, kGather };

static void check(int ok, const char *what) {
  if (ok) return;
  perror(what);
  kill(0, SIGKILL); // the other rank would wait for ever
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e6 * t.tv_sec + 1e-3 * t.tv_nsec;
}

// unpaced returns a socket that never spaces out what it sends, as one with BBR does, by a timer for each packet.
static int unpaced(int fd) {
  check(setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "reno", 4) == 0, "TCP_CONGESTION");
  return fd;
}

// moved returns what a call on a socket has moved, 0 if it would have to wait.
static long moved(long n, const char *what) {
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  check(n > 0, what);
  return n;
}

static void all_reduce(char *memory, char *piece, long bytes, int rank, const int *fd) {
  const long half = bytes / 2;
  char *mine = memory + rank * half, *theirs = memory + (1 - rank) * half;
  long scattered = 0, received = 0, summed = 0, gathered = 0, placed = 0;
  while (scattered < half || summed < half || gathered < half || placed < half) {
    long progress = 0, n;
    if (received < half) {
      const long at = received - summed, want = half - summed < kPiece ? half - summed : kPiece;
      received += n = moved(recv(fd[kScatter], piece + at, want - at, 0), "recv");
      progress += n;
      if (received - summed == want) {
        float *sum = (float *)(mine + summed);
        for (long i = 0; i < want / 4; i++) sum[i] += ((float *)piece)[i];
        summed = received;
      }
    }
    if (gathered < summed) {
      gathered += n = moved(send(fd[kGather], mine + gathered, summed - gathered, 0), "send");
      progress += n;
    }
    if (placed < half && placed < scattered) {
      // What comes in place is the result of what has been sent, so nothing is overwritten too early.
      placed += n = moved(recv(fd[kGather], theirs + placed, half - placed, 0), "recv");
      progress += n;
    }
    if (scattered < half) {
      n = half - scattered < kPiece ? half - scattered : kPiece;
      scattered += n = moved(send(fd[kScatter], theirs + scattered, n, 0), "send");
      progress += n;
    }
    if (progress == 0) {
      struct pollfd p[2] = {{fd[kScatter], received < half ? POLLIN : 0, 0}, {fd[kGather], placed < half ? POLLIN : 0, 0}};
      if (scattered < half) p[kScatter].events |= POLLOUT;
      if (gathered < summed) p[kGather].events |= POLLOUT;
      check(poll(p, 2, -1) > 0 || errno == EINTR, "poll");
    }
  }
}

static int by_size(const void *a, const void *b) { return (*(double *)a > *(double *)b) - (*(double *)a < *(double *)b); }

int main(int argc, char **argv) {
  if (argc != 4) return fprintf(stderr, "usage: tcp LABEL BYTES ITERATIONS\n"), 2;
  const long bytes = atol(argv[2]) / 8 * 8, iterations = atol(argv[3]);
  double *took = mmap(NULL, 2 * iterations * sizeof(double), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  check(took != MAP_FAILED, "mmap");
  setpgid(0, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t length = sizeof at;
  const int listener = unpaced(socket(AF_INET, SOCK_STREAM, 0));
  check(bind(listener, (struct sockaddr *)&at, length) == 0 && listen(listener, 2) == 0 && getsockname(listener, (struct sockaddr *)&at, &length) == 0, "listen");
  const int rank = fork() == 0;
  if (rank == 1) prctl(PR_SET_PDEATHSIG, SIGKILL);
  cpu_set_t core;
  CPU_ZERO(&core);
  CPU_SET(rank, &core);
  sched_setaffinity(0, sizeof core, &core);
  int fd[2];
  for (int i = 0; i < 2; i++) {
    fd[i] = rank == 0 ? accept(listener, NULL, NULL) : unpaced(socket(AF_INET, SOCK_STREAM, 0));
    check(rank == 0 || connect(fd[i], (struct sockaddr *)&at, length) == 0, "connect");
    const int on = 1;
    setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    fcntl(fd[i], F_SETFL, O_NONBLOCK);
  }
  char *memory = aligned_alloc(4096, (bytes + 4095) / 4096 * 4096), *piece = malloc(kPiece);
  for (long i = 0; i < bytes / 4; i++) ((float *)memory)[i] = 1 + rank;
  for (long i = -kWarmup; i < iterations; i++) {
    const double began = now();
    all_reduce(memory, piece, bytes, rank, fd);
    if (i >= 0) took[2 * i + rank] = now() - began;
    float want = 3;
    for (long k = -kWarmup; k < i && want < 1e30f; k++) want *= 2;
    if (i < 60)
      for (long k = 0; k < bytes / 4; k += 997) check(((float *)memory)[k] == want, "a wrong sum");
  }
  if (rank == 1) return 0;
  wait(NULL);
  for (long i = 0; i < iterations; i++) took[i] = took[2 * i] > took[2 * i + 1] ? took[2 * i] : took[2 * i + 1];
  qsort(took, iterations, sizeof(double), by_size);
  printf("%s 2 %ld %.1f %.1f\n", argv[1], bytes, took[iterations / 2], took[iterations * 99 / 100]);
  return 0;
}
