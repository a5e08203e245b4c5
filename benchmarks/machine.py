"""The machine: its name, the best matrix product it was seen to do, its copy, and the memory that a contender takes."""

from __future__ import annotations

import multiprocessing
import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from benchmarks.settings import Settings
from seq2att.recurrence import native

SHAPES = ((512, 512, 2048), (1024, 512, 8000), (1024, 1024, 1024), (2048, 1024, 512))  # rows, inner, columns
GPU_SHAPE = (8192, 8192, 8192)
COPY = 1 << 26  # numbers of a copy: 256 MiB read and as much written


class Peak(NamedTuple):
    """The best of a run so far."""

    mm: float = 0.0  # operations a second by torch.mm
    onednn: float = 0.0  # by oneDNN's linear, where torch has it for this device
    ours: float = 0.0  # by the package's product, where it is compiled
    shape: tuple[int, int, int] = (0, 0, 0)  # of the better one

    @property
    def best(self) -> float:
        """Operations a second of the best library."""
        return max(self.mm, self.onednn, self.ours)

    def joined(self, other: Peak) -> Peak:
        """The better of both."""
        shape = self.shape if self.best >= other.best else other.shape
        return Peak(*(max(pair) for pair in zip(self[:3], other[:3], strict=True)), shape)


def peak(settings: Settings, repeats: int = 4) -> Peak:
    """The best product over the shapes now; a run measures it again and again and keeps the best."""
    found = Peak()
    shapes = SHAPES if settings.batch >= 16 else SHAPES[:1]
    for shape in shapes if settings.device == "cpu" else (*shapes, GPU_SHAPE):
        rows, inner, columns = shape
        inputs = torch.randn(rows, inner, device=settings.device)
        weight = torch.randn(columns, inner, device=settings.device)
        flop = 2.0 * rows * inner * columns
        mm = flop / fastest(lambda i=inputs, w=weight: torch.mm(i, w.t()), settings, repeats)
        onednn = 0.0
        if settings.device == "cpu" and onednn_works():
            onednn = flop / fastest(lambda i=inputs, w=weight: onednn_product(i, w), settings, repeats)
        ours = 0.0
        if settings.device == "cpu" and native.is_available():
            ours = flop / fastest(lambda i=inputs, w=weight: native.matmul(i, w, None), settings, repeats)
        found = found.joined(Peak(mm, onednn, ours, shape))
    return found


def onednn_product(inputs: Tensor, weight: Tensor) -> Tensor:
    """`inputs` `[N, K]` times `weight` `[M, K]` transposed, by oneDNN."""
    return torch.ops.mkldnn._linear_pointwise(inputs, weight, None, "none", [], "")


def onednn_works() -> bool:
    """Whether this torch has it."""
    try:
        onednn_product(torch.ones(2, 2), torch.ones(2, 2))
    except (AttributeError, NotImplementedError, RuntimeError, TypeError):
        return False
    return True


def fastest(function: Callable[[], Any], settings: Settings, repeats: int) -> float:
    """The seconds of the fastest of some calls, after one that does not count."""
    from benchmarks.timing import synchronize

    best = float("inf")
    for number in range(repeats + 1):
        synchronize(settings)
        began = settings.now()
        function()
        synchronize(settings)
        best = min(best, settings.now() - began) if number else best
    return best


def copy_bandwidth(settings: Settings, repeats: int = 4) -> float:
    """Bytes a second of a copy too large for any cache, read and written ones together."""
    numbers = COPY if settings.batch >= 16 else 1 << 12
    source = torch.ones(numbers, device=settings.device)
    target = torch.empty_like(source)
    return 8.0 * numbers / fastest(lambda: target.copy_(source), settings, repeats)


def describe(settings: Settings) -> dict[str, Any]:
    """What a reader must know of the machine."""
    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        fields = dict(
            (part.strip() for part in line.split(":", 1)) for line in cpuinfo.read_text().split("\n\n")[0].splitlines()
        )
        name = f"{fields.get('model name', name)} (family {fields.get('cpu family')}, model {fields.get('model')})"
    described = {
        "processor": name,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_gib(), 1),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": settings.threads,
    }
    if settings.device.startswith("cuda"):
        described["gpu"] = torch.cuda.get_device_name(settings.device)
    return described


def memory_gib() -> float:
    """The machine's memory; 0 where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return 0.0


def peak_memory() -> float:
    """The most memory that this process ever held, in MiB; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return size / 2**20 if sys.platform == "darwin" else size / 2**10


def apart(task: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    """What a task returns in a fresh process that does only this, and that process's peak memory in MiB.

    The process is forked from one that has imported everything and done nothing, so it starts at once; where there is
    no such thing (Windows), it is a new one. (None, 0) where the task failed.
    """
    kind = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"
    context = multiprocessing.get_context(kind)
    if kind == "forkserver":
        context.set_forkserver_preload(["benchmarks.rows"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=work_apart, args=(sender, task, *arguments))
    process.start()
    sender.close()
    try:
        found: tuple[Any, float] = receiver.recv()
        return found
    except EOFError:  # it died: out of memory, or the task raised
        return None, 0.0
    finally:
        process.join()
        receiver.close()


def work_apart(sender: Any, task: Callable[..., Any], *arguments: Any) -> None:
    """Do the task in this process; send what it returns and how much memory that took."""
    sender.send((task(*arguments), peak_memory()))
