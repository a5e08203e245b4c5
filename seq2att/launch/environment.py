"""How many processes a run has, on how many machines, and which of them this one is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from seq2att.errors import UserError
from seq2att.trainer.processes import Processes

PORT = 29400  # where the machines of a run meet, unless MASTER_PORT is set
TORCHRUN = ("RANK", "WORLD_SIZE")
SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")  # only `srun` sets the second


def current_processes(options: Mapping[str, Any], environment: MutableMapping[str, str]) -> Processes | None:
    """This process as one of several that another program started; None if it was started alone.

    The other program is torchrun (or whatever sets RANK and WORLD_SIZE) or Slurm's `srun` with one task for each
    process. Slurm's variables are translated into torchrun's, which PyTorch reads.
    """
    if not all(name in environment for name in TORCHRUN):
        if not all(name in environment for name in SLURM) or starts_own_workers(options, environment):
            return None
        translate_slurm(environment)
    processes = from_torchrun(environment)
    if processes.alone:
        return None
    check_started(options, processes)
    for name in ("MASTER_ADDR", "MASTER_PORT"):
        if name not in environment:
            problem = f"is not set, but RANK and WORLD_SIZE make this one of {processes.size} processes"
            raise UserError("E-process", name, problem, "set it to where rank 0 listens, or use torchrun")
    return processes


def check_started(options: Mapping[str, Any], processes: Processes) -> None:
    """Refuse settings that ask for another number of processes than were started."""
    for key, number, unit in (
        ("devices", processes.local_size, "processes here"),
        ("num_nodes", processes.nodes, "machines"),
    ):
        if options[key] not in (1, -1, number):
            subject, remedy = f"trainer.{key}={options[key]}", f"set it to {number}, or leave it out"
            raise UserError("E-process", subject, f"{number} {unit} were started", remedy)


def from_torchrun(environment: MutableMapping[str, str]) -> Processes:
    """This process by RANK and WORLD_SIZE; without LOCAL_RANK and LOCAL_WORLD_SIZE, all are on this machine."""
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    local_size = int(environment.setdefault("LOCAL_WORLD_SIZE", str(size)))
    local_rank = int(environment.setdefault("LOCAL_RANK", str(rank % local_size)))
    return Processes(rank, size, local_rank, local_size)


def starts_own_workers(options: Mapping[str, Any], environment: Mapping[str, str]) -> bool:
    """Whether `srun` started one task in all, or one on each machine that starts the workers there."""
    size = int(environment["SLURM_STEP_NUM_TASKS"])
    return size == 1 or (options["devices"] != 1 and size == options["num_nodes"])


def translate_slurm(environment: MutableMapping[str, str]) -> None:
    """Set torchrun's variables from those of Slurm's `srun`."""
    size = environment["SLURM_STEP_NUM_TASKS"]
    tasks = environment.get("SLURM_STEP_TASKS_PER_NODE") or size  # 2(x3), 4, 2,1
    if not re.fullmatch(r"\d+(\(x\d+\))?", tasks):
        problem, remedy = "the machines have different numbers of tasks", "set --ntasks-per-node"
        raise UserError("E-process", f"SLURM_STEP_TASKS_PER_NODE={tasks}", problem, remedy)
    environment["RANK"] = environment["SLURM_PROCID"]
    environment["WORLD_SIZE"] = size
    environment["LOCAL_RANK"] = environment.get("SLURM_LOCALID", "0")
    environment["LOCAL_WORLD_SIZE"] = tasks.partition("(")[0]
    environment["GROUP_RANK"] = environment.get("SLURM_NODEID", "0")
    if address := meeting_point(environment):
        environment["MASTER_ADDR"], environment["MASTER_PORT"] = address[0], str(address[1])


def meeting_point(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """The host and port where the processes meet: MASTER_ADDR, or the first machine of the Slurm job."""
    if environment.get("MASTER_ADDR"):
        return environment["MASTER_ADDR"], int(environment.get("MASTER_PORT", PORT))
    if nodes := environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST"):
        from lightning_fabric.plugins.environments.slurm import SLURMEnvironment

        job = int(re.sub(r"\D", "", environment.get("SLURM_JOB_ID", "")) or 0)
        return SLURMEnvironment.resolve_root_node_address(nodes), 15000 + job % 10000  # a port of its own for each job
    return None


def requested_processes(options: Mapping[str, Any]) -> tuple[int, int]:
    """The number of processes on each machine and of machines that the settings ask for; refuses more than GPUs."""
    from seq2att.trainer.checks import check_accelerator, gpus

    check_accelerator(options["accelerator"])
    num_gpus = gpus(options["accelerator"])
    devices, nodes = options["devices"], options["num_nodes"]
    if devices == -1 and num_gpus:
        devices = num_gpus
    if devices < 1:
        limit = "or -1 for all GPUs" if num_gpus else f"this machine has {os.cpu_count()} cores and no GPU in use"
        raise UserError("E-size", f"trainer.devices={devices}", f"must be at least 1 ({limit})")
    if num_gpus and devices > num_gpus:
        raise UserError("E-device", f"trainer.devices={devices}", f"this machine has {num_gpus} GPU(s)", "set it lower")
    return devices, nodes
