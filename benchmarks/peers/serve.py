"""How a peer's script talks to the benchmark: standard library only, for it runs in the peer's environment.

The first line of the input is the task as JSON; then every line is the number of a round, or `memory`. Every answer is
one line that begins with `@`, so that what the peer itself prints does no harm.
"""

import json
import sys
import time


def answer(**values):
    """Write an answer."""
    print("@" + json.dumps(values), flush=True)


def peak_memory():
    """The most memory that this process ever held, in MiB."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 2**10


def serve(prepare):
    """Serve until the input ends; `prepare(task)` gives the step, a function of the round's number, and a name."""
    task = json.loads(sys.stdin.readline())
    now = time.process_time if task["cpu_time"] else time.perf_counter
    step, name = prepare(task)
    answer(name=name)
    for line in sys.stdin:
        if line.strip() == "memory":
            answer(memory=peak_memory())
            continue
        began = now()
        step(int(line))
        answer(seconds=now() - began)
