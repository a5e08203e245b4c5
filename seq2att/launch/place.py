"""Where a run takes place: how many processes on how many machines, and which of them this one is."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, MutableMapping
from typing import Any

from seq2att.errors import UserError
from seq2att.trainer.processes import Processes

PORT = 29400  # where the machines of a run meet, unless MASTER_PORT says otherwise
TORCHRUN = ("RANK", "WORLD_SIZE")
SLURM = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS")  # the second is set by `srun` only


def joined(options: Mapping[str, Any], environment: MutableMapping[str, str]) -> Processes | None:
    """This process as one of several that were started beside us; None when it was started alone.

    They were started by torchrun (or whoever sets RANK and WORLD_SIZE), or by Slurm's `srun` with a task for each
    process. Slurm's words are then put into torchrun's, which PyTorch and Lightning read.
    """
    found = of_torchrun(environment) if all(name in environment for name in TORCHRUN) else None
    if found is None and all(name in environment for name in SLURM):
        found = of_slurm(options, environment)
    if found is None or found.alone:
        return None
    for key, asked, here in (
        ("devices", options["devices"], found.local_size),
        ("num_nodes", options["num_nodes"], found.nodes),
    ):
        if asked not in (1, -1, here):
            what = "processes on each machine" if key == "devices" else "machines"
            raise UserError(f"trainer.{key}={asked}, but {here} {what} were started; make them equal, or leave it out")
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in environment]
    if missing:
        raise UserError(
            f"RANK and WORLD_SIZE say that this is one of {found.size} processes, but {' and '.join(missing)} "
            "does not say where they meet; set it, or start them with torchrun"
        )
    return found


def of_torchrun(environment: MutableMapping[str, str]) -> Processes:
    """This process by RANK and WORLD_SIZE; without the LOCAL_ ones, all are on this machine."""
    rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
    local_size = int(environment.setdefault("LOCAL_WORLD_SIZE", str(size)))
    local_rank = int(environment.setdefault("LOCAL_RANK", str(rank % local_size)))
    return Processes(rank, size, local_rank, local_size)


def of_slurm(options: Mapping[str, Any], environment: MutableMapping[str, str]) -> Processes | None:
    """This process as a task of `srun`; None where each machine has one task, which is to start its workers itself."""
    size = int(environment["SLURM_STEP_NUM_TASKS"])
    if size == 1 or (options["devices"] != 1 and size == options["num_nodes"]):
        return None
    local_size = tasks_of_a_machine(environment)
    environment.update(
        {
            "RANK": environment["SLURM_PROCID"],
            "WORLD_SIZE": str(size),
            "LOCAL_RANK": environment.get("SLURM_LOCALID", "0"),
            "LOCAL_WORLD_SIZE": str(local_size),
            "GROUP_RANK": environment.get("SLURM_NODEID", "0"),
        }
    )
    if place := meeting_point(environment):
        environment.update({"MASTER_ADDR": place[0], "MASTER_PORT": str(place[1])})
    return of_torchrun(environment)


def tasks_of_a_machine(environment: Mapping[str, str]) -> int:
    """How many tasks Slurm started on each machine, which must be equally many."""
    words = environment.get("SLURM_STEP_TASKS_PER_NODE") or environment["SLURM_STEP_NUM_TASKS"]  # 2(x3), 4, 2,1
    if not re.fullmatch(r"\d+(\(x\d+\))?", words):
        raise UserError(
            f"SLURM_STEP_TASKS_PER_NODE={words}: start equally many tasks on each machine (--ntasks-per-node)"
        )
    return int(words.partition("(")[0])


def meeting_point(environment: Mapping[str, str]) -> tuple[str, int] | None:
    """The machine and port where the processes find each other: as told, or by Slurm's list of machines."""
    if environment.get("MASTER_ADDR"):
        return environment["MASTER_ADDR"], int(environment.get("MASTER_PORT", PORT))
    if nodes := environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST"):
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        job = int(re.sub(r"\D", "", environment.get("SLURM_JOB_ID", "")) or 0)
        return SLURMEnvironment.resolve_root_node_address(nodes), 15000 + job % 10000  # jobs side by side do not meet
    return None


def asked_for(options: Mapping[str, Any]) -> tuple[int, int]:
    """How many processes on each of how many machines the settings ask for; raises UserError where there are fewer."""
    from seq2att.trainer.checks import check_accelerator, gpus

    check_accelerator(options["accelerator"])
    devices, nodes, here = options["devices"], options["num_nodes"], gpus(options["accelerator"])
    if nodes < 1:
        raise UserError(f"trainer.num_nodes={nodes}: allowed is 1 or more")
    if devices == -1 and here:
        devices = here
    if devices < 1:
        allowed = "1 or more, or -1 for all GPUs" if here else f"1 or more (this machine has {os.cpu_count()} cores)"
        raise UserError(f"trainer.devices={devices}: allowed is {allowed}")
    if here and devices > here:
        raise UserError(
            f"trainer.devices={devices}: this machine has {here} GPU{'s' * (here > 1)}; set it to {here} or less"
        )
    return devices, nodes
