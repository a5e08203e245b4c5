"""What the numbers of a run depend on in addition to its settings and data: versions, processor, kernels."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path
from typing import Any

import torch

import seq2att
from seq2att.recurrence.choice import is_compiled, requested_kernel
from seq2att.recurrence.native import build
from seq2att.trainer.revision import revision

PACKAGES = {
    "datasets": "datasets",
    "hydra-core": "hydra",
    "lightning-fabric": "lightning_fabric",
    "matplotlib": "matplotlib",
    "numpy": "numpy",
    "omegaconf": "omegaconf",
    "pyarrow": "pyarrow",
    "pyyaml": "yaml",
    "sacrebleu": "sacrebleu",
    "safetensors": "safetensors",
    "sentencepiece": "sentencepiece",
    "torch": "torch",
}
"""The distributions that seq2att depends on, and the modules that they bring."""
INSTRUCTIONS = frozenset(
    "sse4_2 avx avx2 fma f16c avx512f avx512bw avx512dq avx512vl avx512_vnni avx_vnni avx512_bf16 avx512_fp16 "
    "amx_tile amx_int8 amx_bf16 asimd asimddp asimdhp bf16 i8mm sve sve2".split()
)
"""The instruction sets that libraries choose their kernels by."""


def environment(device: torch.device) -> dict[str, Any]:
    """The versions, the system, the processor, the kernels and the revisions of this process."""
    return {
        "versions": versions(),
        "system": platform.platform(),
        "processor": processor(),
        "kernel": kernel() if device.type == "cpu" else gpu(device),
        "git": {"seq2att": revision(Path(seq2att.__file__).parent, "__init__.py"), "folder": revision(Path.cwd())},
    }


def versions() -> dict[str, str]:
    """The versions of Python, of seq2att, of its dependencies and of the installed plugins."""
    points = importlib.metadata.entry_points(group="seq2att.plugins")
    plugins = {point.dist.name: point.dist.version for point in points if point.dist}
    packages = {name: version(name, module) for name, module in PACKAGES.items()}
    return {"python": platform.python_version(), "seq2att": seq2att.__version__, **packages, **plugins}


def version(name: str, module: str) -> str:
    """The version of a module that is imported, else that of its distribution."""
    imported = getattr(sys.modules.get(module), "__version__", None)
    try:
        return str(imported or importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def processor() -> dict[str, Any]:
    """The model of the processor, its instruction sets that matter, and the logical cores that may be used."""
    values: dict[str, str] = {}
    for line in build.processor().splitlines():
        name, _, value = line.partition(":")
        values[name.strip()] = value.strip()
    words = " ".join(values.get(name, "") for name in ("flags", "Features")).split()
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
    return {
        "model": values.get("model name") or values.get("CPU part") or platform.processor() or platform.machine(),
        "instructions": sorted(INSTRUCTIONS & set(words)),
        "torch": torch.backends.cpu.get_cpu_capability(),  # the instruction set of PyTorch's kernels
        "cores": len(usable),
    }


def kernel() -> dict[str, Any]:
    """Which tier computes the recurrences on a CPU, and what compiled it or why it is not there."""
    if is_compiled():
        compiler = build.compiler_version().partition("\n")[0]
        return {"tier": "cpp", "compiler": compiler, "flags": [*build.flags(), *build.MACHINE]}
    return {"tier": "torch", "reason": "SEQ2ATT_KERNEL=torch" if requested_kernel() else str(build.failure())}


def gpu(device: torch.device) -> dict[str, Any]:
    """The graphics card and the libraries that compute on it."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
    return {"tier": "torch", "device": name, "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version()}
