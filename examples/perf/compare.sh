#!/usr/bin/env bash
# Compares all-reduce with Open MPI and Gloo on this machine, QUIC with a bare stream of quic-go, and both ways between hosts with what an
# emulated path allows, and prints the ratio of medians beside the bar of each row.
#
#   examples/perf/compare.sh                    five interleaved rounds of every row
#   examples/perf/compare.sh -rounds 7 shm small        these rows only
#   examples/perf/compare.sh -keep DIR -rounds 1        one round more; what earlier rounds left in DIR counts too
#
#   -rounds N    how often everything is measured, in turn (default 5)
#   -np LIST     the numbers of ranks on one host (default "2 4 8")
#   -keep DIR    where measurements are kept (default: a temporary folder)
#   -seconds S   how long a peer is timed for a size (default 0.2)
#   -install     install what is missing with apt-get (needs root)
#
# Rows: small, shm, plain, limit, gloo, auto, pauses, kernels (beside a C compiler's), train (beside torch), tcp (TLS and plain data, beside Gloo's and bare connections), quic (loopback, beside a bare stream), wan (needs
# root), nccl (all GPUs of this machine, beside NCCL's own all_reduce_perf). A row is a function run_NAME, which measures one round, and
# a function show_NAME, which prints what the rounds gave; a row that cannot run here says why. Run it on a quiet machine: only
# ratios of one run mean anything. Every program checks its first result.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

rounds=5 keep='' seconds=0.2 install=false np='2 4 8'
rows=()
while (($# > 0)); do
	case $1 in
	-rounds) rounds=$2 && shift ;;
	-np) np=$2 && shift ;;
	-keep) keep=$2 && shift ;;
	-seconds) seconds=$2 && shift ;;
	-install) install=true ;;
	-h | -help | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit ;;
	-*) echo "compare.sh: unknown flag $1" >&2 && exit 2 ;;
	*) rows+=("$1") ;;
	esac
	shift
done
((${#rows[@]} > 0)) || rows=(small shm plain limit gloo auto pauses kernels train tcp quic wan nccl)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[[ -n $keep ]] || keep=$work/keep
mkdir -p "$keep"
data=$keep/measurements
skipped=$work/skipped
: >>"$data"
: >"$skipped"

note() { grep -qxF "$*" "$skipped" || echo "$*" >>"$skipped"; }

# build FILE COMMAND... PACKAGE: makes a program of this project, at its first use.
build() { [[ -x $work/$1 ]] || "${@:2:$#-2}" -o "$work/$1" "${!#}"; }

# The programs. A peer that is not there is left out, and the end says so.
go build -o "$work/perf" ./examples/perf
wanted=()
command -v mpicc.openmpi >/dev/null || wanted+=(openmpi-bin libopenmpi-dev gcc)
[[ -e /usr/include/gloo/allreduce.h ]] || wanted+=(libgloo-dev g++)
torch() { /usr/bin/python3 -c 'import torch.distributed' 2>/dev/null; } # where Debian's is
[[ " ${rows[*]} " != *' train '* ]] || torch || wanted+=(python3-torch libopenblas0-pthread)
if $install && ((${#wanted[@]} > 0)); then
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${wanted[@]}" >/dev/null
fi
peers=examples/perf/peers
mpicc.openmpi -O3 -o "$work/mpi" "$peers/mpi.c" 2>/dev/null || note "Open MPI: not there (openmpi-bin, libopenmpi-dev; -install gets them)"
g++ -O3 -o "$work/gloo" "$peers/gloo.cc" -lgloo -lpthread 2>/dev/null || note "Gloo: not there (libgloo-dev, g++; -install gets them)"
gcc -O3 -mavx2 -o "$work/tcp" "$peers/tcp.c" 2>/dev/null || note "bare all-reduce over TCP: no gcc for $peers/tcp.c"
gcc -O3 -mavx2 -o "$work/cma" "$peers/cma.c" 2>/dev/null || note "cross-memory attach: no gcc for $peers/cma.c"
gcc -O3 -mavx2 -pthread -o "$work/cores" "$peers/cores.c" 2>/dev/null || note "distance of the cores: no gcc for $peers/cores.c"
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 # the peers run as whoever runs this

# A measurement is a line: who ranks bytes median p99, times in microseconds.

# iterations RANKS BYTES: of perf, so that a size takes about half a second.
iterations() {
	awk -v n="$1" -v s="$2" 'BEGIN { t = 1e-6 * (n > 2 ? 3 * n : 1) + s * n / 8e9; i = int(0.3 / t); print (i < 8 ? 8 : i > 20000 ? 20000 : i) }'
}

# ours LABEL RANKS ALLOC SIZE [FLAG...]
ours() {
	local label=$1 n=$2 alloc=$3 size=$4 json=$work/$RANDOM.json
	shift 4
	# -bind gives ranks a core each while there are enough, as mpirun does with two.
	if ! "$work/perf" -np "$n" -bind -alloc "$alloc" -b "$size" -e "$size" -n "$(iterations "$n" "$size")" -w 10 -I -a 3 -J "$json" "$@" >"$work/log" 2>&1; then
		cat "$work/log" >&2
		return 1
	fi
	sed -n 's/.*"in_place_per_iter":{[^}]*"p50_us":\([0-9.]*\)[^}]*"p99_us":\([0-9.]*\).*/\1 \2/p' "$json" | sed "s/^/$label $n $size /" >>"$data"
	rm -f "$json"
}

# open_mpi RANKS SIZE...: as it comes, without cross-memory attach, and with its temporaries kept mapped, which spares it page
# faults.
open_mpi() {
	local n=$1
	shift
	[[ -x $work/mpi ]] || return 0
	mpirun.openmpi --oversubscribe -np "$n" "$work/mpi" mpi "$seconds" "$@" >>"$data"
	mpirun.openmpi --oversubscribe --mca btl_vader_single_copy_mechanism none -np "$n" "$work/mpi" mpi-nocma "$seconds" "$@" >>"$data"
	MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=268435456 \
		mpirun.openmpi --oversubscribe -np "$n" "$work/mpi" mpi-tuned "$seconds" "$@" >>"$data"
}

# gloo RANKS SIZE...: each of its algorithms.
gloo() {
	local n=$1 algorithm r store pids=()
	shift
	[[ -x $work/gloo ]] || return 0
	for algorithm in ring bcube hd chunked; do
		store=$(mktemp -d "$work/store.XXXX")
		pids=()
		for ((r = 0; r < n; r++)); do
			timeout 60 "$work/gloo" "gloo-$algorithm" "$r" "$n" "$store" "$seconds" "$algorithm" "$@" >>"$data" &
			pids+=($!)
		done
		for r in "${pids[@]}"; do wait "$r" || note "Gloo: $algorithm over $n ranks failed"; done
	done
}

# once KEY COMMAND...: at most once a round, as several rows may need the same measurement.
once() {
	[[ ! -e $work/done.$1 ]] || return 0
	touch "$work/done.$1"
	"${@:2}"
}

# median WHO RANKS BYTES [COLUMN]: over the rounds; of several whos the smallest one's. Nothing if there is none.
median() {
	local who best='' m
	for who in $1; do
		m=$(awk -v w="$who" -v n="$2" -v b="$3" -v c="${4:-4}" '$1 == w && $2 == n && $3 == b { print $c }' "$data" | sort -g | awk '{ x[NR] = $1 } END { if (NR) print x[int((NR + 1) / 2)] }')
		if [[ -n $m ]] && { [[ -z $best ]] || awk "BEGIN { exit !($m < $best) }"; }; then best=$m; fi
	done
	echo "$best"
}

# line TITLE OURS THEIRS BAR: a row of the table.
line() {
	if [[ -z $2 || -z $3 ]]; then
		printf '%-58s %12s %12s %8s %8s\n' "$1" "${2:--}" "${3:--}" - "$4"
		return
	fi
	awk -v t="$1" -v a="$2" -v b="$3" -v bar="$4" 'BEGIN { r = a / b; printf "%-58s %12.2f %12.2f %8.2f %8s %s\n", t, a, b, r, bar, bar == "-" ? "" : r <= bar + 0.005 ? "met" : "MISSED" }'
}

best_mpi='mpi mpi-nocma mpi-tuned'
declare -A name=([8]='8 B' [1024]='1 KiB' [16384]='16 KiB' [65536]='64 KiB' [1048576]='1 MiB' [16777216]='16 MiB' [67108864]='64 MiB' [268435456]='256 MiB')
small_sizes=(8 1024)
large_sizes=(65536 1048576 16777216 67108864)

# The shared-memory rows have their measurements in common.
run_registered() {
	local n s
	for n in $np; do
		for s in "${small_sizes[@]}" "${large_sizes[@]}"; do ours ours "$n" registered "$s"; done
		open_mpi "$n" "${small_sizes[@]}" "${large_sizes[@]}"
	done
}

run_small() { once registered run_registered; }
show_small() {
	local n s
	declare -A bar=([2]=1.0 [4]=0.8 [8]=0.7)
	for n in $np; do
		for s in "${small_sizes[@]}"; do
			line "shm, ${name[$s]}, n = $n: us, over Open MPI" "$(median ours "$n" "$s")" "$(median "$best_mpi" "$n" "$s")" "${bar[$n]}"
			line "shm, ${name[$s]}, n = $n: p99 us, over Open MPI" "$(median ours "$n" "$s" 5)" "$(median "$best_mpi" "$n" "$s" 5)" 2.0
		done
	done
}

run_shm() { once registered run_registered; }
show_shm() {
	local n s
	declare -A bar=([2]=0.45 [4]=0.25 [8]=0.2)
	for n in $np; do
		for s in 65536 1048576 16777216; do
			line "shm registered, ${name[$s]}, n = $n: us, over Open MPI" "$(median ours "$n" "$s")" "$(median "$best_mpi" "$n" "$s")" 0.5
		done
		line "shm registered, 64 MiB, n = $n: us, over tuned" "$(median ours "$n" 67108864)" "$(median mpi-tuned "$n" 67108864)" "${bar[$n]}"
	done
}

run_plain() {
	local n s
	once registered run_registered
	for n in $np; do
		((n <= 4)) || continue
		for s in "${large_sizes[@]}"; do
			ours plain "$n" plain "$s"
			[[ ! -x $work/cma ]] || "$work/cma" cma "$n" "$s" "$(iterations "$n" "$s")" >>"$data" || note 'cross-memory attach: not permitted here'
		done
	done
}
show_plain() {
	local n s who
	for n in $np; do
		((n <= 4)) || continue
		for s in "${large_sizes[@]}"; do
			who=$best_mpi
			((s <= 16777216)) || who=mpi-tuned
			line "shm ordinary, ${name[$s]}, n = $n: us, over Open MPI" "$(median plain "$n" "$s")" "$(median "$who" "$n" "$s")" 0.9
			line "shm ordinary, ${name[$s]}, n = $n: us, over bare cross-memory attach" "$(median plain "$n" "$s")" "$(median cma "$n" "$s")" 1.0
		done
	done
}

# The time that memory needs to read and write every rank's 64 MiB once; 75 % of its rate is a third more time.
run_limit() {
	once registered run_registered
	build buffer.test go test -c ./collective/buffer
	(cd collective/buffer && "$work/buffer.test" -test.run '^$' -test.bench MemoryLimit -test.benchtime 8x) |
		sed -n 's|^BenchmarkMemoryLimit/\([a-z]*\)/\([0-9]*\)[^ \t]*[ \t]*[0-9]*[ \t]*\([0-9.]*\) ns/op.*|\1 \2 \3|p' |
		awk '{ print "limit-" $1, $2, 67108864, $3 / 1000, $3 / 1000 }' >>"$data"
}
show_limit() {
	local n
	for n in $np; do
		line "shm registered, 64 MiB, n = $n: us, over the memory limit" "$(median ours "$n" 67108864)" "$(median 'limit-inplace limit-copy' "$n" 67108864)" 1.33
	done
}

run_gloo() {
	local n
	once registered run_registered
	for n in $np; do once "gloo$n" gloo "$n" "${small_sizes[@]}" "${large_sizes[@]}"; done
}
show_gloo() {
	local n s
	for n in $np; do
		for s in "${small_sizes[@]}" "${large_sizes[@]}"; do
			line "shm, ${name[$s]}, n = $n: us, over Gloo's best" "$(median ours "$n" "$s")" "$(median 'gloo-ring gloo-bcube gloo-hd gloo-chunked' "$n" "$s")" 0.2
		done
	done
}

# The planner's own choice against every fixed one that does something else.
auto_sizes=(8 1024 65536 1048576 16777216 67108864 268435456)
declare -A planned=()

# plan_of RANKS SIZE ALGORITHM: puts into the variable plan what -explain says.
plan_of() {
	local key="$1 $2 $3"
	if [[ -z ${planned[$key]-} ]]; then
		"$work/perf" -np "$1" -alloc registered -b "$2" -e "$2" -n 1 -w 0 -c 0 -algo "$3" -explain >"$work/log" 2>&1 || { cat "$work/log" >&2 && return 1; }
		planned[$key]=$(sed -n 's/^# all_reduce of .* hosts: //p' "$work/log")
	fi
	plan=${planned[$key]}
}

run_auto() {
	local n s a chosen plan
	for n in $np; do
		for s in "${auto_sizes[@]}"; do
			ours algo-auto "$n" registered "$s"
			plan_of "$n" "$s" auto
			chosen=$plan
			for a in direct ring tree hd hier; do
				plan_of "$n" "$s" "$a"
				[[ -n $plan && $plan == "$chosen" ]] || ours "algo-$a" "$n" registered "$s" -algo "$a"
			done
		done
	done
}
show_auto() {
	local n s
	for n in $np; do
		for s in "${auto_sizes[@]}"; do
			line "auto, ${name[$s]}, n = $n: us, over the best fixed" "$(median algo-auto "$n" "$s")" "$(median 'algo-direct algo-ring algo-tree algo-hd algo-hier' "$n" "$s")" 1.1
		done
	done
}

# The longest stop of the world while another goroutine collects garbage all the time, in microseconds, against 5 ms, and what
# the machine did in the same run: see BenchmarkStopTheWorld. Of registered memory and ordinary slices the longer stop counts.
run_pauses() {
	build collective.test go test -c ./collective
	(cd collective && "$work/collective.test" -test.run '^$' -test.bench StopTheWorld -test.benchtime 40x) | awk '
		/^BenchmarkStopTheWorld/ {
			for (i = 2; i < NF; i++) v[$(i + 1)] = $i + 0
			if (v["pause-us"] > most["pause-us"]) for (u in v) most[u] = v[u]
		}
		END {
			for (u in most) if (u ~ /-us$/) print "pauses-" substr(u, 1, length(u) - 3), 2, 67108864, most[u], most[u]
		}' >>"$data"
}
show_pauses() {
	local pause gap
	pause=$(median pauses-pause 2 67108864) gap=$(median pauses-gap 2 67108864)
	line 'longest stop of the world, 64 MiB, n = 2: us' "$pause" 5000 1.0
	line "the same, over a bare loop's longest gap" "$pause" "$gap" -
	line 'longest until all had stopped: us, over the gap' "$(median pauses-stopping 2 67108864)" "$gap" -
	printf '%-58s %12s %12s\n' "threads kept from a core, stolen by the hypervisor: us" "$(median pauses-delay 2 67108864)" "$(median pauses-steal 2 67108864)"
	printf '%-58s %s\n' 'stop/gap/kept/stolen by round:' "$(awk '
		$1 ~ /^pauses-/ { x[substr($1, 8)] = $4 }
		$1 == "round" && "pause" in x { printf "%s%d/%d/%d/%d", sep, x["pause"], x["gap"], x["delay"], x["steal"]; sep = ", "; delete x }' "$data")"
}

# The kernels beside the loops of a C compiler, in microseconds a call. Of sum, prod, min and max of 2, 4 and 8 sources, in place and
# apart, the worst one counts.
kernel_types=(float double int32 half bfloat16)
kernel_sizes=(16384 393216 6291456 67108864)
run_kernels() {
	build versus go -C collective/buffer/internal/versus build . 2>/dev/null || { note 'kernels: no C compiler' && return; }
	# Many short samples tell more than few long ones, which others disturb more often. A call of the last size takes milliseconds by itself.
	{
		"$work/versus" -rounds 20 -time 1ms -rows '/(16384|393216|6291456)/'
		"$work/versus" -rounds 4 -time 5ms -rows '/67108864/'
	} | awk '
		$3 ~ /^[0-9]+$/ {
			print "kernel-" $1 "-" $2 "-" $5, $4, $3, $3 / $6 / 1000, 0
			print "c-" $1 "-" $2 "-" $5, $4, $3, $3 / $7 / 1000, 0
		}' >>"$data"
}
show_kernels() {
	local type s k place a b worst
	for type in "${kernel_types[@]}"; do
		for s in "${kernel_sizes[@]}"; do
			worst='0 - -'
			for k in 2 4 8; do
				for place in {sum,prod,min,max}-{in-place,apart}; do
					a=$(median "kernel-$type-$place" "$k" "$s") b=$(median "c-$type-$place" "$k" "$s")
					[[ -z $a ]] || worst=$(awk -v w="$worst" -v a="$a" -v b="$b" 'BEGIN { split(w, x); print (a / b > x[1] ? a / b " " a " " b : w) }')
				done
			done
			read -r _ a b <<<"$worst"
			line "kernel, $type, $((s >> 10)) KiB: us, over C" "${a#-}" "${b#-}" 1.1
		done
	done
}

# Steps of data-parallel training with 84 MB of gradients beside torch's DistributedDataParallel over Gloo: the communication
# that computing does not hide.
run_train() {
	build train go build ./examples/train
	torch || { note "train: no torch in /usr/bin/python3 (python3-torch, libopenblas0-pthread; -install gets them)" && return; }
	"$work/train" -np 2 -time 15 -hidden 4096,5056 -batch 16 -bucket 25M -lr 0.01 -json |
		sed -n 's/.*"step_us":\([0-9.]*\),"not_hidden_us":\([-0-9.e+]*\).*/train 2 84124968 \2 \1/p' >>"$data"
	/usr/bin/python3 "$peers/ddp.py" ddp 2 15 8 64 4096 5056 10 2>/dev/null >>"$data" || note 'train: torch failed'
}
show_train() { line 'train, 84 MB of gradients: us not hidden a step, over torch' "$(median train 2 84124968)" "$(median ddp 2 84124968)" 0.333; }

# TCP over loopback, with TLS and with data in clear, beside Gloo's, in clear. What no all-reduce can
# beat by this code's means: as many bytes each way between two processes at the same time, over bare connections of crypto/tls and of the kernel.
tcp_sizes=(1048576 16777216 67108864)
run_tcp() {
	local s
	for s in "${tcp_sizes[@]}"; do
		ours tls 2 registered "$s" -transport tcp
		ours plaindata 2 registered "$s" -transport tcp -plaindata
		[[ ! -x $work/tcp ]] || "$work/tcp" bare-sum "$s" "$(iterations 2 "$s")" >>"$data"
	done
	once gloo2 gloo 2 "${small_sizes[@]}" "${large_sizes[@]}"
	build tcp.test go test -c ./transport/tcp
	"$work/tcp.test" -test.run '^$' -test.bench Exchange -test.benchtime 10x 2>/dev/null | awk '
		/^BenchmarkExchange.* ns\/op/ { split($1, part, "/"); split(part[4], size, "-"); print "bare-" part[2] "-" part[3], 2, size[1] * 1048576, $3 / 1000, $3 / 1000 }' |
		sed 's/conns=//' >>"$data"
}
show_tcp() {
	local s gloo='gloo-ring gloo-bcube gloo-hd gloo-chunked'
	for s in "${tcp_sizes[@]}"; do
		line "tcp with TLS, ${name[$s]}: us, over Gloo plain" "$(median tls 2 "$s")" "$(median "$gloo" 2 "$s")" 1.0
		line "tcp with TLS, ${name[$s]}: us, over bare TLS" "$(median tls 2 "$s")" "$(median 'bare-tls-1 bare-tls-3' 2 "$s")" -
		line "tcp, plain data, ${name[$s]}: us, over Gloo plain" "$(median plaindata 2 "$s")" "$(median "$gloo" 2 "$s")" 0.8
		line "tcp, plain data, ${name[$s]}: us, over a bare all-reduce" "$(median plaindata 2 "$s")" "$(median bare-sum 2 "$s")" -
		line "a bare all-reduce over TCP, ${name[$s]}: us, over Gloo plain" "$(median bare-sum 2 "$s")" "$(median "$gloo" 2 "$s")" -
		line "tcp, plain data, ${name[$s]}: us, over bare TCP" "$(median plaindata 2 "$s")" "$(median 'bare-tcp-1 bare-tcp-3' 2 "$s")" -
	done
}

# 64 MiB one way over loopback, by the links of transport/quic and by one bare stream of quic-go, in microseconds.
run_quic() {
	go test -run '^$' -bench 'BenchmarkLink/^(conns=[14],gro=on,poll=on|raw)$/Stream/64MiB' -benchtime 8x ./transport/quic 2>/dev/null | awk '
		/conns=1/ { who = "quic-1" } /conns=4/ { who = "quic-4" } /\/raw\// { who = "quic-bare" }
		/^Benchmark.* ns\/op/ { print who, 2, 67108864, $3 / 1000, $3 / 1000 }' >>"$data"
}
show_quic() {
	local bare
	bare=$(median quic-bare 2 67108864)
	line 'quic, 1 connection, 64 MiB: us, over bare' "$(median quic-1 2 67108864)" "$bare" 0.59
	line 'quic, 4 connections, 64 MiB: us, over bare' "$(median quic-4 2 67108864)" "$bare" 0.45
}

# wan LABEL RTT LOSS SIZE ITERATIONS FLAG...: two ranks on two hosts joined by 1 Gbit/s.
wan() {
	local label=$1 rtt=$2 loss=$3 size=$4 n=$5 json=$work/$RANDOM.json
	shift 5
	# shellcheck disable=SC2016 # the dollars are the inner shell's
	if ! timeout 100 "$work/wanlab" -hosts 2 -rate 1000 -rtt "$rtt" -loss "$loss" -- bash -c '
		said=$1 json=$2
		shift 2
		: >"$said" # an invitation of a run before is not this one
		nsenter --net="$WAN_NS0" "$@" -invite 2 -J "$json" 2>"$said" &
		until grep -q "^perf -join" "$said"; do kill -0 $! || exit; sleep 0.05; done
		nsenter --net="$WAN_NS1" "$@" -join "$(sed -n "s/^perf -join //p" "$said")" && wait $!
	' wan "$work/said" "$json" "$work/perf" -b "$size" -e "$size" -n "$n" -w 3 -I -a 3 "$@" >"$work/log" 2>&1; then
		note "wan: $label failed: $(tail -n 1 "$work/log")"
		return 0
	fi
	sed -n 's/.*"in_place_per_iter":{[^}]*"p50_us":\([0-9.]*\)[^}]*"p99_us":\([0-9.]*\).*/\1 \2/p' "$json" | sed "s/^/$label 2 $size /" >>"$data"
	rm -f "$json"
}

run_wan() {
	local t loss
	[[ $EUID == 0 ]] || { note 'wan: needs root' && return; }
	build wanlab go build ./examples/internal/wan/wanlab
	for loss in 0 0.1 1; do
		for t in quic tcp; do wan "$t-10ms-$loss" 10ms "$loss" 16777216 8 -transport "$t"; done
	done
	wan quic-100ms-0.1 100ms 0.1 67108864 4 -transport quic
}
show_wan() {
	local loss
	declare -A quic=([0]=180 [0.1]=230 [1]=300) tcp=([0]=170 [0.1]=180 [1]=210)
	for loss in 0 0.1 1; do
		line "wan 10 ms, $loss % lost, quic: us, over bar" "$(median "quic-10ms-$loss" 2 16777216)" "${quic[$loss]}000" 1.0
		line "wan 10 ms, $loss % lost, tcp: us, over bar" "$(median "tcp-10ms-$loss" 2 16777216)" "${tcp[$loss]}000" 1.0
	done
	line 'wan 100 ms, 0.1 % lost, quic: us, over half' "$(median quic-100ms-0.1 2 67108864)" 1073742 1.0
}

# One rank on each GPU, beside nccl-tests. Both print the same table, in which the tenth column is the time in place.
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ' || true)
gpu_sizes=(8 65536 1048576 67108864)
table() { awk -v w="$1" -v n="$2" '!/^#/ && NF >= 13 { print w, n, $1, $10, $10 }' >>"$data"; }
run_nccl() {
	((gpus > 0)) || { note 'NCCL: no GPU here (nvidia-smi lists none)' && return; }
	command -v all_reduce_perf >/dev/null || { note "NCCL: no all_reduce_perf in PATH (nccl-tests)" && return; }
	local s
	for s in "${gpu_sizes[@]}"; do
		"$work/perf" -np "$gpus" -device cuda -b "$s" -e "$s" -n 50 | table gpu "$gpus"
		all_reduce_perf -g "$gpus" -b "$s" -e "$s" -n 50 | table nccl "$gpus"
	done
}
show_nccl() {
	local s
	for s in "${gpu_sizes[@]}"; do
		line "GPUs, ${name[$s]}, n = $gpus: us, over NCCL" "$(median gpu "$gpus" "$s")" "$(median nccl "$gpus" "$s")" 1.0
	done
}

for row in "${rows[@]}"; do
	declare -F "run_$row" >/dev/null || { echo "compare.sh: no row $row" >&2 && exit 2; }
done
for ((round = 1; round <= rounds; round++)); do
	rm -f "$work"/done.*
	[[ ! -x $work/cores ]] || "$work/cores" | sed 's/^/cores /' >>"$data" || note 'distance of the cores: not measured (one processor, or none with AVX2)'
	for row in "${rows[@]}"; do "run_$row"; done
	echo "round $round of $rounds" >&2
	echo "round" >>"$data"
done

printf '# %s, %s processors, Linux %s, %s\n' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$(uname -r)" "$(go version | cut -d' ' -f3)"
printf '# %s; Gloo %s\n' "$(mpirun.openmpi --version 2>/dev/null | head -n 1)" "$(dpkg-query -W -f '${Version}' libgloo-dev 2>/dev/null || echo '?')"
printf '# load average %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
printf '# medians over %s interleaved rounds\n' "$(grep -c '^round' "$data")"
# On virtual machines both change with the cores that the hypervisor picks, and what they limit with them: see peers/cores.c.
printf '# a cache line from core to core, ns, and memory, GB/s read and written, by round: %s\n' "$(awk '$1 == "cores" { printf "%s%s %s %s", sep, $2, $3, $4; sep = ", " }' "$data")"
printf '%-58s %12s %12s %8s %8s\n' row ours theirs ratio bar
for row in "${rows[@]}"; do "show_$row"; done
if [[ -s $skipped ]]; then
	printf '\nskipped:\n'
	sed 's/^/  /' "$skipped"
fi
