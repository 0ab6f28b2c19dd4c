// Times Gloo's all-reduce over TCP loopback: float32 sum, in place.
//
// usage: gloo LABEL RANK N FOLDER SECONDS ring|bcube|hd|chunked SIZE...      FOLDER: empty, shared by the ranks
// prints: LABEL N SIZE MEDIAN P99      times in microseconds, of the slowest rank in every iteration
#include <gloo/allreduce.h>
#include <gloo/allreduce_halving_doubling.h>
#include <gloo/allreduce_ring_chunked.h>
#include <gloo/barrier.h>
#include <gloo/broadcast.h>
#include <gloo/math.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/file_store.h>
#include <gloo/transport/tcp/device.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace {

double seconds_now() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

using Kernel = void (*)(void* out, const void* a, const void* b, size_t n);

template <typename T>
void reduce(const std::shared_ptr<gloo::Context>& context, std::vector<T>& data, gloo::AllreduceOptions::Algorithm algorithm, Kernel kernel) {
  gloo::AllreduceOptions options(context);
  options.setOutput(data.data(), data.size());
  options.setAlgorithm(algorithm);
  options.setReduceFunction(kernel);
  gloo::allreduce(options);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 8) return 2;
  const std::string label = argv[1], name = argv[6];
  const int rank = std::stoi(argv[2]), ranks = std::stoi(argv[3]);
  const double seconds = std::stod(argv[5]);
  gloo::transport::tcp::attr loopback;
  loopback.hostname = "127.0.0.1";
  auto device = gloo::transport::tcp::CreateDevice(loopback);
  gloo::rendezvous::FileStore store(argv[4]);
  auto context = std::make_shared<gloo::rendezvous::Context>(rank, ranks);
  context->connectFullMesh(store, device);

  for (int arg = 7; arg < argc; arg++) {
    const long bytes = std::stol(argv[arg]);
    std::vector<float> data(std::max(1L, bytes / 4));
    const int count = static_cast<int>(data.size());
    std::function<void()> call;
    std::unique_ptr<gloo::Algorithm> fixed;
    if (name == "hd" || name == "chunked") {
      std::vector<float*> pointers{data.data()};
      if (name == "hd")
        fixed.reset(new gloo::AllreduceHalvingDoubling<float>(context, pointers, count));
      else
        fixed.reset(new gloo::AllreduceRingChunked<float>(context, pointers, count));
      call = [&] { fixed->run(); };
    } else {
      const auto algorithm = name == "ring" ? gloo::AllreduceOptions::Algorithm::RING : gloo::AllreduceOptions::Algorithm::BCUBE;
      call = [&, algorithm] { reduce(context, data, algorithm, gloo::sum<float>); };
    }
    auto barrier = [&] {
      gloo::BarrierOptions options(context);
      gloo::barrier(options);
    };
    for (int i = 0; i < count; i++) data[i] = float(rank + i % 5);
    call();
    for (int i = 0; i < count; i++) {
      if (data[i] != float(ranks * (ranks - 1) / 2 + ranks * (i % 5))) {
        fprintf(stderr, "gloo: rank %d: element %d is wrong\n", rank, i);
        return 1;
      }
    }
    std::fill(data.begin(), data.end(), 0.f);
    barrier();
    const double begin = seconds_now();
    for (int i = 0; i < 5; i++) call();
    int64_t iterations = std::min<int64_t>(20000, std::max<int64_t>(5, seconds / ((seconds_now() - begin) / 5)));
    gloo::BroadcastOptions agree(context);
    agree.setOutput(&iterations, 1);
    agree.setRoot(0);
    gloo::broadcast(agree);
    std::vector<double> times(iterations);
    barrier();
    double last = seconds_now();
    for (auto& time : times) {
      call();
      const double now = seconds_now();
      time = now - last;
      last = now;
    }
    reduce(context, times, gloo::AllreduceOptions::Algorithm::RING, gloo::max<double>);
    if (rank == 0) {
      std::sort(times.begin(), times.end());
      printf("%s %d %ld %.3f %.3f\n", label.c_str(), ranks, bytes, times[iterations / 2] * 1e6, times[iterations * 99 / 100] * 1e6);
      fflush(stdout);
    }
  }
}
