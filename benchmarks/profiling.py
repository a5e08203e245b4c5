"""Where the time of the package's training step goes, by torch's profiler."""

from __future__ import annotations

from torch.profiler import ProfilerActivity, profile

from benchmarks.settings import Settings
from benchmarks.timing import Row, conditions
from seq2att.errors import UserError

LINES = 15


def table(row: Row, settings: Settings) -> str:
    """The operations with the most time of their own in three steps of the last tier that this machine has."""
    for contender in reversed([one for one in row.contenders if one.name.startswith("seq2att")]):
        try:
            with conditions(contender):
                run = contender.build()
                run(0)
                activities = [ProfilerActivity.CPU]
                activities += [ProfilerActivity.CUDA] if settings.device.startswith("cuda") else []
                with profile(activities=activities) as found:
                    for number in range(3):
                        run(number)
        except UserError:
            continue
        order = "self_cuda_time_total" if settings.device.startswith("cuda") else "self_cpu_time_total"
        shown = found.key_averages().table(sort_by=order, row_limit=LINES, max_name_column_width=50)
        return f"### `{row.name}`: three rounds of {contender.name}\n\n```\n{shown}\n```\n"
    return ""
