# What psutil sees of each process, in the form of seen_by_psutil.py. The arguments are processes
# that do nothing: theirs must be equal. What others use may go up and down between two looks.
import json
import os
import sys

import psutil

EXACT = 0
ROUNDED = 0.011  # sums of a whole second and of hundredths
STATES = {"disk-sleep": "blocked", "tracing-stop": "stopped"}

quiet = {int(pid) for pid in sys.argv[1:]}
booted = psutil.boot_time()
fields = {}


def look(process):
    pid, created = process.pid, process.create_time()
    # The kernel counts in ticks of 10 ms from boot.
    key = f"/process/processes/{pid}/{round((created - booted) * 100) * 10}/"
    seen = {}

    def put(tolerance, **values):
        for name, value in values.items():
            seen[key + name] = [value, EXACT if pid in quiet else tolerance]

    cpu, memory = process.cpu_times(), process.memory_info()
    put(EXACT, ppid=process.ppid(), user_seconds=cpu.user, system_seconds=cpu.system)
    put(ROUNDED, start_time_seconds=created)
    put(4, threads=process.num_threads())
    loose = (16 << 20) + memory.rss / 2
    put(loose, resident_bytes=memory.rss, shared_bytes=memory.shared)
    put(loose + memory.vms / 2, virtual_bytes=memory.vms)
    if process.ppid() != 2 and pid != 2:
        # It puts the whole name of the program for the kernel's 15 bytes.
        put(EXACT, name=process.name()[:15])
    if pid in quiet:
        state = process.status()
        put(EXACT, state=STATES.get(state, state))
    try:
        io = process.io_counters()
        put(EXACT, read_bytes=io.read_bytes, write_bytes=io.write_bytes)
        put(EXACT, read_count=io.read_count, write_count=io.write_count)
    except psutil.AccessDenied:
        pass
    fields.update(seen)


for process in psutil.process_iter():
    if process.pid != os.getpid():  # not there for both looks
        try:
            look(process)
        except psutil.NoSuchProcess:
            pass

print(json.dumps(fields))
