#!/usr/bin/env bash
# Runs a command in virtual machines whose kernel has software RoCE (rdma_rxe): one machine, or two that a wire joins.
#
#   testvm.sh build                      fetches Debian's kernel and makes a small initial file system, once
#   testvm.sh run [options] -- COMMAND   runs COMMAND in each machine; the exit status is the worst of them
#     -n N     machines, 1 or 2 (default 1)
#     -t SECS  limit of the whole run (default 300)
#     -f FILE  copies a file into the folder in which COMMAND runs; may be given again
#     -p       devices for tests of topology: two NUMA nodes, a PCIe switch in each, under it a network card and a display
#
# The host's root file system is the guest's, read-only, so programs and libraries of the host run as they are; nothing
# is installed, on neither side; /tmp, /run and /mnt are empty. TESTVM_DIR (default: a folder under the user's cache) keeps the kernel. In the guest,
# TESTVM_RANK, TESTVM_SIZE, TESTVM_IP, TESTVM_PEER and TESTVM_NETDEV, and TESTVM_TOPOLOGY with -p, say where the command is, and /mnt/w is its own
# folder to write. Exit status 77: something that it needs is not there; the last line says what.
#
# It needs qemu-system-x86 busybox-static kmod cpio rdma-core ibverbs-providers iproute2 (all of Debian's main section), and apt for the
# kernel. Debian 12's kernel is the one to take: its cloud kernel has no rdma_rxe, and in 6.12 rdma_rxe starves under polling.
set -euo pipefail
readonly boot=90 # seconds until a command begins, which takes 5 to 20; an emulated processor sometimes never starts
dir=${TESTVM_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/ringtree-testvm}

lacks() {
	printf 'testvm: %s\n' "$1" >&2
	exit 77
}

needs() {
	local program
	for program in qemu-system-x86_64 busybox cpio modprobe depmod xz gzip ip rdma; do
		command -v "$program" >/dev/null || lacks "no $program"
	done
}

build() {
	needs
	mkdir -p "$dir"
	cd "$dir"
	if [[ ! -e kernel ]]; then
		command -v apt-get >/dev/null || lacks "no apt-get to fetch a kernel with"
		local package
		package=$(apt-cache depends linux-image-amd64 2>/dev/null | awk '/Depends:/ { print $2; exit }')
		[[ -n $package ]] || lacks "apt knows no linux-image-amd64 (apt-get update first?)"
		rm -rf deb root
		mkdir deb root
		(cd deb && apt-get -qq download "$package" 2>/dev/null) || lacks "$package cannot be fetched"
		dpkg -x deb/*.deb root
		rm -r deb
		# The machine starts an ELF kernel by PVH, without the emulated processor unpacking it.
		local image=root/boot/vmlinuz-* at
		at=$(LC_ALL=C grep -abo $'\xfd7zXZ\x00' $image | head -n 1 | cut -d: -f1)
		tail -c "+$((at + 1))" $image | xz -dc >kernel.new 2>/dev/null || true
		[[ -s kernel.new ]] || lacks "the kernel of $package is not packed as expected"
		mv kernel.new kernel
	fi
	local version
	version=$(ls root/lib/modules)
	[[ -e root/lib/modules/$version/modules.dep ]] || depmod -b "$PWD/root" "$version"
	rm -rf init
	mkdir -p init/{bin,proc,sys,dev,modules,new}
	cp "$(command -v busybox)" init/bin/busybox
	: >init/modules/order
	local name file
	for name in virtio_pci 9pnet_virtio 9p virtio_net crc32_generic crc32_pclmul rdma_rxe rdma_ucm veth sch_netem sch_prio cls_u32; do
		while read -r file; do
			[[ -e init/modules/$(basename "$file") ]] && continue
			cp "$file" init/modules/
			basename "$file" >>init/modules/order
		done < <(modprobe -d "$PWD/root" -S "$version" --show-depends "$name" 2>/dev/null | awk '$1 == "insmod" { print $2 }')
	done
	cat >init/init <<'INIT'
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
while read m; do insmod /modules/$m || echo "testvm: module $m failed"; done </modules/order
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=262144 host /new
for d in proc sys dev; do mount --bind /$d /new/$d; done
mkdir -p /dev/shm /dev/pts; mount -t tmpfs tmpfs /dev/shm; mount -t devpts devpts /dev/pts
for d in tmp run mnt; do mount -t tmpfs tmpfs /new/$d; done
mkdir /new/mnt/w; mount -t 9p -o trans=virtio,version=9p2000.L,rw,msize=262144 work /new/mnt/w
ip link set lo up
exec chroot /new /bin/bash /mnt/w/guest
INIT
	chmod +x init/init
	(cd init && find . | cpio -o -H newc --quiet | gzip -1) >initrd.new
	mv initrd.new initrd
}

# guest RANK SIZE COMMAND...: what the machine runs.
guest() {
	local rank=$1 size=$2
	shift 2
	cat <<GUEST
export PATH=/usr/local/go/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp TESTVM=1 TESTVM_RANK=$rank TESTVM_SIZE=$size TESTVM_TOPOLOGY=$pci
ulimit -l unlimited
if [ $size = 1 ]; then
	ip link add net0 type veth peer name net1
	ip link set net1 up mtu 4200
	TESTVM_NETDEV=net0
else
	TESTVM_NETDEV=eth0
fi
export TESTVM_NETDEV TESTVM_IP=10.77.0.$((rank + 1)) TESTVM_PEER=10.77.0.$((2 - rank))
[ $size = 2 ] || TESTVM_PEER=\$TESTVM_IP
ip link set \$TESTVM_NETDEV up mtu 4200
ip addr add \$TESTVM_IP/24 dev \$TESTVM_NETDEV
rdma link add rxe0 type rxe netdev \$TESTVM_NETDEV
i=0
until grep -qs . /sys/class/infiniband/rxe0/ports/1/gids/1 || [ \$i = 50 ]; do sleep 0.1; i=\$((i + 1)); done
echo "up \$(cut -d' ' -f1 /proc/uptime) s, kernel \$(uname -r), \$(rdma link show)" >/mnt/w/ready
cd /mnt/w
( $(printf '%q ' "$@") ) >/mnt/w/out 2>&1
echo \$? >/mnt/w/status
dmesg >/mnt/w/dmesg
sync
echo o >/proc/sysrq-trigger
sleep 60
GUEST
}

# booted waits until the command has begun in every machine, or one has ended; it fails if that takes too long.
booted() {
	local begin=$SECONDS rank up
	while ((SECONDS - begin < boot)); do
		up=0
		for ((rank = 0; rank < size; rank++)); do
			if [[ -s $work/$rank/ready ]] || ! kill -0 "${pids[rank]}" 2>/dev/null; then
				up=$((up + 1))
			fi
		done
		((up < size)) || return 0
		sleep 0.2
	done
	return 1
}

run() {
	local size=1 limit=300 devices=() files=() pci= o
	while getopts n:t:f:p o; do
		case $o in
		n) size=$OPTARG ;;
		t) limit=$OPTARG ;;
		f) files+=("$OPTARG") ;;
		p) devices=("${topology[@]}") pci=1 ;;
		*) exit 2 ;;
		esac
	done
	shift $((OPTIND - 1))
	[[ ${1:-} != -- ]] || shift
	[[ $# -gt 0 ]] || lacks "no command"
	needs
	[[ -s $dir/initrd ]] || build
	local work rank start=$SECONDS processors=$((3 - size))
	work=$(mktemp -d)
	local pids=() try
	trap 'for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done; rm -rf "$work"' EXIT
	for ((try = 1; ; try++)); do
		for ((rank = 0; rank < size; rank++)); do
			local own=$work/$rank net=()
			rm -rf "$own"
			mkdir "$own"
			((${#files[@]} == 0)) || cp "${files[@]}" "$own"
			guest "$rank" "$size" "$@" >"$own/guest"
			if ((size == 2)); then
				rm -f "$work/wire$rank"
				net=(-netdev "dgram,id=wire,local.type=unix,local.path=$work/wire$rank,remote.type=unix,remote.path=$work/wire$((1 - rank))"
					-device "virtio-net-pci,bus=pcie.0,netdev=wire,mac=52:54:00:77:00:0$rank,romfile=,host_mtu=4200")
			fi
			local machine=(-smp "$processors" -m 1024)
			((${#devices[@]} == 0)) || machine=()
			timeout -k 2 "$limit" qemu-system-x86_64 -machine q35 -accel tcg,thread=multi -cpu max "${machine[@]}" -nodefaults -no-user-config -no-reboot \
				-display none -kernel "$dir/kernel" -initrd "$dir/initrd" \
				-append "console=ttyS0 quiet panic=-1 nokaslr mitigations=off tsc=reliable no_timer_check random.trust_cpu=on" -serial "file:$own/console" \
				-fsdev "local,id=host,path=/,security_model=none,readonly=on,multidevs=remap" -device virtio-9p-pci,fsdev=host,mount_tag=host,bus=pcie.0 \
				-fsdev "local,id=work,path=$own,security_model=none,multidevs=remap" -device virtio-9p-pci,fsdev=work,mount_tag=work,bus=pcie.0 \
				"${net[@]}" "${devices[@]}" -device virtio-rng-pci,bus=pcie.0 2>"$own/qemu" &
			pids+=($!)
		done
		if booted || ((try == 3)); then
			break
		fi
		printf 'testvm: not up after %d s, once more\n' "$boot"
		for ((rank = 0; rank < size; rank++)); do
			tail -n 5 "$work/$rank/console" "$work/$rank/qemu" 2>/dev/null || true
			kill "${pids[rank]}" 2>/dev/null || true
			wait "${pids[rank]}" || true
		done
		pids=()
	done
	local worst=0 status
	for ((rank = 0; rank < size; rank++)); do
		wait "${pids[rank]}" || true
	done
	pids=()
	for ((rank = 0; rank < size; rank++)); do
		local own=$work/$rank
		((size == 1)) || printf -- '== machine %d\n' "$rank"
		cat "$own/ready" "$own/out" 2>/dev/null || true
		if ! status=$(cat "$own/status" 2>/dev/null); then
			status=98
			printf 'testvm: the machine has not come to an end\n'
			tail -n 20 "$own/console" "$own/qemu" 2>/dev/null || true
		fi
		((status == 0)) || worst=$status
	done
	printf 'testvm: status %d, %d s\n' "$worst" $((SECONDS - start))
	exit "$worst"
}

# Two NUMA nodes of a processor each; in each a PCIe root of its own, a root port and a switch, and below it a network
# card and a display. A second display of node 1 sits behind a root port without the switch.
topology=(-smp 2,sockets=2,cores=1 -m 1024
	-object memory-backend-ram,id=m0,size=512M -object memory-backend-ram,id=m1,size=512M
	-numa node,nodeid=0,cpus=0,memdev=m0 -numa node,nodeid=1,cpus=1,memdev=m1 -numa dist,src=0,dst=1,val=21
	-netdev hubport,id=n0,hubid=0 -netdev hubport,id=n1,hubid=1)
for node in 0 1; do
	topology+=(-device "pxb-pcie,id=pxb$node,bus_nr=$((64 + 64 * node)),numa_node=$node,bus=pcie.0"
		-device "pcie-root-port,id=rp$node,bus=pxb$node,chassis=$((1 + 10 * node)),slot=$((1 + 10 * node))"
		-device "x3130-upstream,id=up$node,bus=rp$node"
		-device "xio3130-downstream,id=da$node,bus=up$node,chassis=$((2 + 10 * node)),slot=$((2 + 10 * node))"
		-device "xio3130-downstream,id=db$node,bus=up$node,chassis=$((3 + 10 * node)),slot=$((3 + 10 * node))"
		-device "virtio-net-pci,netdev=n$node,bus=da$node,romfile=" -device "bochs-display,bus=db$node")
done
topology+=(-device "pcie-root-port,id=rq1,bus=pxb1,chassis=30,slot=30" -device "bochs-display,bus=rq1")

case ${1:-} in
build) build ;;
run)
	shift
	run "$@"
	;;
*)
	sed -n '2,20p' "$0"
	exit 2
	;;
esac
