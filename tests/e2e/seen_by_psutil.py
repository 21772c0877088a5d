# What psutil sees: for each field of the snapshot, as a JSON pointer into it, the value and the
# tolerance. Tolerances are for what happens between two looks, and for rounding.
import json
import os
import re

import psutil

EXACT = 0
HALF_TICK = 0.005  # the kernel counts in ticks of 1/100 s
TICKS = 0.05  # idle and iowait may go back a little (proc_stat(5))
SPACE = 128 << 20  # what others take and give back meanwhile, and the host's copies of the plugins
KERNEL = 4 << 20  # the same of the kernel's own
ROUNDED = 0.06  # psutil rounds percentages to one digit

fields = {}


def put(path, tolerance, **values):
    for name, value in values.items():
        steps = [step.replace("~", "~0").replace("/", "~1") for step in [*path, name]]
        fields["/" + "/".join(steps)] = [value, tolerance]


def percent(of):
    return ROUNDED + 100 * SPACE / max(of, 1)


def times(path, cpu):
    for state in ("user", "nice", "system", "irq", "softirq", "steal"):
        put(path, HALF_TICK, **{state + "_seconds": getattr(cpu, state)})
    put(path, TICKS, idle_seconds=cpu.idle, iowait_seconds=cpu.iowait)


times(["cpu"], psutil.cpu_times())
for index, core in enumerate(psutil.cpu_times(percpu=True)):
    times(["cpu", "cores", f"cpu{index}"], core)
put(["cpu"], EXACT, logical_count=psutil.cpu_count())
for minutes, load in zip((1, 5, 15), psutil.getloadavg()):
    put(["cpu"], 0.01, **{f"load_avg_{minutes}m": load})

memory = psutil.virtual_memory()
put(["memory"], EXACT, total_bytes=memory.total)
put(
    ["memory"],
    SPACE,
    available_bytes=memory.available,
    used_bytes=memory.total - memory.available,
    free_bytes=memory.free,
    cached_bytes=memory.cached,
)
put(
    ["memory"],
    KERNEL,
    buffers_bytes=memory.buffers,
    shared_bytes=memory.shared,
    slab_bytes=memory.slab,
)
put(["memory"], percent(memory.total), percent=memory.percent)
swap = psutil.swap_memory()
put(["memory"], EXACT, swap_total_bytes=swap.total)
put(["memory"], SPACE, swap_used_bytes=swap.used, swap_free_bytes=swap.free)
put(["memory"], percent(swap.total), swap_percent=swap.percent)

put(["network"], EXACT, **psutil.net_io_counters(nowrap=False)._asdict())
for name, counters in psutil.net_io_counters(pernic=True, nowrap=False).items():
    put(["network", "interfaces", name], EXACT, **counters._asdict())

# psutil shows bind mounts too.
partitions = psutil.disk_partitions(all=False)
for partition in partitions:
    same_device = (other for other in partitions if other.device == partition.device)
    if partition.mountpoint != min((other.mountpoint for other in same_device), key=len):
        continue
    path = ["disk", "partitions", partition.mountpoint]
    put(path, EXACT, device=partition.device, fs_type=partition.fstype)
    usage = psutil.disk_usage(partition.mountpoint)
    put(path, EXACT, total_bytes=usage.total)
    put(path, SPACE, used_bytes=usage.used, free_bytes=usage.free)
    put(path, percent(usage.total), percent=usage.percent)


def whole(name):
    # psutil's own total counts the I/O of devices that are stacked on others, of loop devices,
    # and of the paths of NVMe disks twice.
    block = os.path.join("/sys/block", name.replace("/", "!"))
    slaves = os.path.join(block, "slaves")
    stacked = os.path.isdir(slaves) and os.listdir(slaves)
    no_disk = re.fullmatch(r"(loop|ram|zram|dm-|md|md_d|zd)\d+|nvme\d+c\d+n\d+", name)
    return os.path.isdir(block) and not stacked and not no_disk


total = dict.fromkeys(("read_bytes", "write_bytes", "read_count", "write_count"), 0)
for name, disk in psutil.disk_io_counters(perdisk=True, nowrap=False).items():
    counters = {field: getattr(disk, field) for field in total}
    put(["disk", "devices", name], EXACT, **counters)
    if whole(name):
        total = {field: total[field] + counters[field] for field in total}
put(["disk"], EXACT, **total)

print(json.dumps(fields))
