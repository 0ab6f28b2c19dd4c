# Times steps of torch's DistributedDataParallel over Gloo, with and without communication, as `train -time` does it.
#
# usage: ddp.py LABEL RANKS STEPS SAMPLES WIDTH...      SAMPLES on each rank, WIDTHs of all layers from input to output
# prints: LABEL RANKS BYTES NOT_HIDDEN STEP      bytes of gradients a step; times in microseconds
#
# Steps with and without communication take turns. NOT_HIDDEN is the median of the differences, STEP that of the steps with
# communication; each of the rank on which it is largest.
import copy
import os
import sys
import tempfile
import time

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

WARM = 3


def step(module, optimizer, x, y):
    dist.barrier()
    began = time.perf_counter()
    optimizer.zero_grad(set_to_none=False)
    nn.functional.cross_entropy(module(x), y).backward()
    optimizer.step()
    return time.perf_counter() - began


def median(times):
    slowest = torch.tensor(sorted(times)[len(times) // 2], dtype=torch.float64)
    dist.all_reduce(slowest, op=dist.ReduceOp.MAX)
    return slowest.item()


def run(rank, store, label, ranks, steps, samples, widths):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method="file://" + store, rank=rank, world_size=ranks)
    torch.manual_seed(rank)
    layers = []
    for i, o in zip(widths, widths[1:]):
        layers += [nn.Linear(i, o), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    alone, together = copy.deepcopy(model), DistributedDataParallel(model)
    sgd = [torch.optim.SGD(m.parameters(), lr=0.01, momentum=0.9) for m in (alone, together)]
    x, y = torch.randn(samples, widths[0]), torch.randint(0, widths[-1], (samples,))
    times = [(step(alone, sgd[0], x, y), step(together, sgd[1], x, y)) for _ in range(WARM + steps)][WARM:]
    not_hidden, whole = median([b - a for a, b in times]), median([b for _, b in times])
    sums = torch.tensor([p.double().sum() for p in model.parameters()])
    first = sums.clone()
    dist.broadcast(first, 0)
    if not torch.equal(first, sums):
        sys.exit(f"ddp.py: rank {rank} has other weights than rank 0")
    if rank == 0:
        size = 4 * sum(p.numel() for p in model.parameters())
        print(label, ranks, size, f"{not_hidden * 1e6:.3f} {whole * 1e6:.3f}", flush=True)
    dist.barrier()


if __name__ == "__main__":
    if len(sys.argv) < 7:
        sys.exit("usage: ddp.py LABEL RANKS STEPS SAMPLES WIDTH...")
    label, (ranks, steps, samples, *widths) = sys.argv[1], map(int, sys.argv[2:])
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(run, args=(os.path.join(folder, "store"), label, ranks, steps, samples, widths), nprocs=ranks)
