"""Times loads from memory of a dax device or of a NUMA node, for an answer to `TimeLoads`.

Not imported: its text runs in python3 on the far side (3.8 and later, no module beside its own), with the
name of the memory as its argument. It maps for reading only, and writes nothing but pages of its own. It
asks the kernel to end it first where memory is short (proc_pid_oom_score_adj(5)): pages bound to a node that
is full would otherwise cost a VM on that node its life (`oom_badness` in mm/oom_kill.c).

An interpreter takes 30 to 60 ns a step, about as long as an uncached load. So `repeated` is one step of
mmap's own C code: a slice with a stride reads, in `mmap_subscript` of Modules/mmapmodule.c, one byte of each
cache line with one load instruction an item, and does nothing else. Measured on a Zen 4 EPYC at 2.6 GHz, 256
lines in one slice: 0.9 to 1.1 ns a load from the cache, with all that the slice costs. Where each load goes
to memory it is 100 to 300 ns, since the processor does uncached loads one after the other.

`first` and `again` are of a chain of single loads, each of which needs the value of the one before, so that
they cannot overlap: from lines that nobody has read yet (`first`; their pages were touched elsewhere, and
what the kernel cleared was driven out of the caches), and once more (`again`). Each step has the
interpreter's own time in it: that is what `again` of ordinary memory is, 35 ns there, with 115 ns more for a
first load. (Under QEMU's emulation: 12 ns for a repeated load, 600 ns for a step.)

Rounds of the two memories alternate, so that what disturbs one disturbs the other. Of a device, repeated
loads are timed at places all over it, too: its MTRRs may cover a part of it only.
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import json
import mmap
import os
import sys
import time

LINE, PAGE = 64, 4096
AREA = 4 << 20  # of which first loads are timed: a page for each
LOADS = 256
CHAIN = 16
ROUNDS = 64
PLACES = 8  # of a device, its first page and its last among them
ENOUGH = 2_000_000_000  # nanoseconds
MOST_DRIVEN_OUT = 256 << 20
LEAST_FREE = 16 << 20  # of a node, to take AREA from it
MBIND, MPOL_BIND = 237, 2  # of x86_64: arch/x86/entry/syscalls/syscall_64.tbl, linux/mempolicy.h
MOST_NODES = 1024
NODES = "/sys/devices/system/node"
CPUS = "/sys/devices/system/cpu"
DEVICES = "/sys/bus/dax/devices"
CPUINFO = "/proc/cpuinfo"


def word(path: str) -> str:
    """The first line of a file; empty where there is none or it may not be read."""
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            return file.readline().strip()
    except OSError:
        return ""


def numbers(text: str) -> list[int]:
    """`0-3,8` → 0, 1, 2, 3, 8."""
    found: list[int] = []
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found


def near(node: int) -> list[int]:
    """All nodes by their distance from one, itself first."""
    online = numbers(word(f"{NODES}/online"))
    distances = map(int, word(f"{NODES}/node{node}/distance").split())
    far = dict(zip(online, distances))
    return sorted(online, key=lambda one: (far.get(one, 0), one != node, one))


def settle(nodes: list[int]) -> tuple[int, int | None]:
    """Stay on one processor of the first node that has one for us, with its node.

    The last of them: the first ones get the interrupts.
    """
    allowed = os.sched_getaffinity(0)
    for node in nodes:
        its = allowed.intersection(numbers(word(f"{NODES}/node{node}/cpulist")))
        if its:
            os.sched_setaffinity(0, {max(its)})
            return max(its), node
    os.sched_setaffinity(0, {max(allowed)})
    return max(allowed), None


def die_first() -> None:
    """Where memory is short, be the one whom the kernel ends: anybody may offer that."""
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w", encoding="ascii") as file:
        file.write("1000")


def ordinary(length: int, node: int | None = None) -> mmap.mmap:
    """Memory of our own, of the nearest node or of a given one, with a page behind each address."""
    memory = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # where the kernel has no huge pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    if node is not None:
        bind(memory, length, node)
    for at in range(0, length, PAGE):
        memory[at] = 0
    return memory


def bind(memory: mmap.mmap, length: int, node: int) -> None:
    """Have the kernel take its pages from one node only: mbind(2), for which Python has no words."""
    if os.uname().machine != "x86_64":
        sys.exit("the number of mbind is known for x86_64 only")
    with open(f"{NODES}/node{node}/meminfo", encoding="ascii") as file:
        free = next((int(line.split()[3]) << 10 for line in file if " MemFree:" in line), 0)
    if free < LEAST_FREE:
        sys.exit(f"node{node} has no memory for us: {free >> 20} MiB of it are free")
    libc = ctypes.CDLL(None, use_errno=True)
    nodes = (ctypes.c_ubyte * (MOST_NODES // 8))()
    nodes[node // 8] = 1 << node % 8
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    words = (start, length, MPOL_BIND, ctypes.addressof(nodes), MOST_NODES + 1, 0)
    if libc.syscall(MBIND, *map(ctypes.c_ulong, words)):
        sys.exit(f"node{node} has no memory for us: mbind: {os.strerror(ctypes.get_errno())}")


def device(name: str) -> dict[int, mmap.mmap]:
    """Parts of a dax device by their offset, shared and for reading: it takes no private mapping.

    The first is an area of which all pages are touched; of the others there is a block.
    """
    if not os.path.isdir(f"{DEVICES}/{name}"):
        sys.exit(f"there is no {name}")
    try:
        driver = os.path.basename(os.readlink(f"{DEVICES}/{name}/driver"))
    except OSError:
        driver = ""
    if driver != "device_dax":
        sys.exit(f"{name} is not bound to device_dax")
    align, size = (int(word(f"{DEVICES}/{name}/{attribute}")) for attribute in ("align", "size"))
    area, block = (min(-(-length // align), size // align) * align for length in (AREA, LOADS * LINE))
    steps = (size - block) // align
    places = sorted({steps * number // (PLACES - 1) * align for number in range(PLACES)})
    parts = {}
    try:
        file = os.open(f"/dev/{name}", os.O_RDONLY)
        for at in places:
            length = block if at else area
            parts[at] = mmap.mmap(file, length, mmap.MAP_SHARED, mmap.PROT_READ, offset=at)
    except OSError as error:
        sys.exit(f"/dev/{name}: {error.strerror}")
    parts[0][PAGE - 1 : min(area, AREA) : PAGE]
    return parts


def drive_out(cpu: int) -> bool:
    """Touch more memory than the largest cache holds; whether it was as much."""
    sizes = [word(f"{CPUS}/cpu{cpu}/cache/index{level}/size") for level in range(8)]
    largest = max([int(size[:-1]) << 10 for size in sizes if size.endswith("K")], default=0)
    with open("/proc/meminfo", encoding="ascii") as file:
        free = next((int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:")), 0)
    length = min(2 * largest, MOST_DRIVEN_OUT, free // 8) // PAGE * PAGE
    if length:
        with ordinary(length) as other:
            other[0:length:LINE]
    return 0 < largest < length


def chain(memory: mmap.mmap, number: int) -> int:
    """Nanoseconds for some loads of which each waits for the one before.

    A page is used once. Its last line was touched before, and a value moves an address by 255 bytes at most.
    """
    pages = min(len(memory), AREA) // PAGE
    steps = range(number * CHAIN, (number + 1) * CHAIN)
    places = [step * 37 % pages * PAGE + LINE * (1 + step * 13 % 56) for step in steps]
    value, clock = 0, time.perf_counter_ns
    start = clock()
    for place in places:
        value = memory[place + value]
    return clock() - start


def repeated(memory: mmap.mmap) -> int:
    """Nanoseconds for one load of each of some lines that were just read, at the speed of C."""
    clock, end = time.perf_counter_ns, LOADS * LINE
    memory[0:end:LINE]
    start = clock()
    memory[0:end:LINE]
    return clock() - start


def timed(memory: mmap.mmap, usual: mmap.mmap, elsewhere: dict[int, mmap.mmap]) -> dict[str, object]:
    """Rounds in turn, until they are enough or have taken long enough."""
    both = {"memory": memory, "ordinary": usual}
    found: dict[str, dict[str, list[int]]] = {
        name: {"first": [], "again": [], "repeated": []} for name in both
    }
    others: dict[int, list[int]] = {at: [] for at in elsewhere}
    chains = min(map(len, both.values())) // PAGE // CHAIN
    end = time.perf_counter_ns() + ENOUGH
    for number in range(min(ROUNDS, chains)):
        for name, each in both.items():
            rounds = found[name]
            rounds["first"].append(chain(each, number))
            rounds["again"].append(chain(each, number))
            rounds["repeated"].append(repeated(each))
        for at, each in elsewhere.items():
            others[at].append(repeated(each))
        if time.perf_counter_ns() > end:
            break
    return {**found, "elsewhere": list(others.items())}


def processor() -> tuple[str, bool]:
    """Model of the processor, and whether it says that it is one of a virtual machine."""
    with open(CPUINFO, encoding="utf-8", errors="replace") as file:
        lines = [line.partition(":") for line in itertools.takewhile(str.strip, file)]
    about = {key.strip(): value.strip() for key, _, value in lines}
    return about.get("model name", ""), "hypervisor" in about.get("flags", "").split()


def circumstances(cpu: int, node: int) -> dict[str, object]:
    """What the firmware says of the memory's node, and what can disturb."""
    model, virtual = processor()
    initiators = f"{NODES}/node{node}/access0/initiators"
    latency = word(f"{initiators}/read_latency")
    whence = os.listdir(initiators) if os.path.isdir(initiators) else []
    siblings = numbers(word(f"{CPUS}/cpu{cpu}/topology/thread_siblings_list"))
    return {
        "model": model,
        "virtual": virtual,
        "firmware": int(latency) if latency.isdigit() else None,
        "initiators": sorted(int(one[4:]) for one in whence if one.startswith("node")),
        "governor": word(f"{CPUS}/cpu{cpu}/cpufreq/scaling_governor"),
        "siblings": [one for one in siblings if one != cpu],
        "balancing": word("/proc/sys/kernel/numa_balancing") not in ("", "0"),
    }


def main(name: str) -> None:
    """Time the loads, and say what they were."""
    if name.startswith("node"):
        node = closest = int(name[4:])
        if not os.path.isdir(f"{NODES}/node{node}"):
            sys.exit(f"there is no node {node}")
    else:
        node, closest = (int(word(f"{DEVICES}/{name}/{key}") or -1) for key in ("target_node", "numa_node"))
    die_first()
    cpu, on = settle(near(node if os.path.isdir(f"{NODES}/node{node}") else closest))
    parts = {0: ordinary(AREA, node)} if name.startswith("node") else device(name)
    memory, usual = parts.pop(0), ordinary(AREA)
    about = {"cpu": cpu, "node": on, "cold": drive_out(cpu), "loads": LOADS, "chain": CHAIN}
    print(json.dumps({**about, **circumstances(cpu, node), **timed(memory, usual, parts)}))


if __name__ == "__main__":
    main(sys.argv[1])
