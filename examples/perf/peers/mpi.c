// Times MPI_Allreduce: float32 sum, in place.
//
// usage: mpirun -np N mpi LABEL SECONDS SIZE...
// prints: LABEL N SIZE MEDIAN P99      times in microseconds, of the slowest rank in every iteration
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

enum { kWarmup = 10, kLeast = 5, kMost = 20000 };

static int ascending(const void *p, const void *q) {
  const double a = *(const double *)p, b = *(const double *)q;
  return a < b ? -1 : a > b;
}

static void all_reduce(float *data, int count) {
  MPI_Allreduce(MPI_IN_PLACE, data, count, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
}

int main(int argc, char **argv) {
  MPI_Init(&argc, &argv);
  int rank, ranks;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  if (argc < 4) MPI_Abort(MPI_COMM_WORLD, 2);
  const double seconds = atof(argv[2]);
  for (int arg = 3; arg < argc; arg++) {
    const long bytes = atol(argv[arg]);
    const int count = bytes < 4 ? 1 : (int)(bytes / 4);
    float *data = malloc(sizeof(float) * count);
    for (int i = 0; i < count; i++) data[i] = (float)(rank + i % 5);
    all_reduce(data, count);
    int wrong = 0;
    for (int i = 0; i < count; i++) wrong += data[i] != (float)(ranks * (ranks - 1) / 2 + ranks * (i % 5));
    if (wrong) {
      fprintf(stderr, "mpi: rank %d: %d wrong elements of %d\n", rank, wrong, count);
      MPI_Abort(MPI_COMM_WORLD, 1);
    }
    for (int i = 0; i < count; i++) data[i] = 0;
    double begin = MPI_Wtime();
    for (int i = 0; i < kWarmup; i++) all_reduce(data, count);
    double fit = seconds / ((MPI_Wtime() - begin) / kWarmup);
    int iterations = fit < kLeast ? kLeast : fit > kMost ? kMost : (int)fit;
    MPI_Bcast(&iterations, 1, MPI_INT, 0, MPI_COMM_WORLD);
    double *times = malloc(sizeof(double) * iterations), *worst = malloc(sizeof(double) * iterations);
    MPI_Barrier(MPI_COMM_WORLD);
    double last = MPI_Wtime();
    for (int i = 0; i < iterations; i++) {
      all_reduce(data, count);
      const double now = MPI_Wtime();
      times[i] = now - last;
      last = now;
    }
    MPI_Reduce(times, worst, iterations, MPI_DOUBLE, MPI_MAX, 0, MPI_COMM_WORLD);
    if (rank == 0) {
      qsort(worst, iterations, sizeof(double), ascending);
      printf("%s %d %ld %.3f %.3f\n", argv[1], ranks, bytes, worst[iterations / 2] * 1e6, worst[(long)iterations * 99 / 100] * 1e6);
      fflush(stdout);
    }
    free(worst);
    free(times);
    free(data);
  }
  MPI_Finalize();
  return 0;
}
