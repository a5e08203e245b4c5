"""One optimizer step: the gradients of its batches on all processes, their normalisation and clipping, the update.

The gradient of a step is that of the mean loss of a target token over all its batches (`trainer.accumulate`) and all
processes. How many tokens those hold is known only after the last of them, so each batch differentiates
`total / SCALE`, and before clipping the gradients are multiplied by `SCALE / tokens`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seq2att import registry
from seq2att.errors import UserError
from seq2att.trainer.evaluation import StreamState, moved
from seq2att.trainer.sums import plus, zero
from seq2att.types import Batch, Loss

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from seq2att.model import Model
    from seq2att.trainer.divergence import LossWatch
    from seq2att.trainer.processes import Processes

SCALE = 1024.0  # near the tokens of a batch, so that half-precision gradients stay in range; dividing by it is exact


class Stepper:
    """Adds up the gradients of batches and updates the weights: optimizer, schedule of the rate, state of the text.

    Args:
        num_steps: optimizer steps of the whole run, as the schedule plans them.
        steps_per_epoch: optimizer steps of an epoch.
        watch: judges each step before it is taken.
    """

    def __init__(
        self,
        model: Model,
        config: Mapping[str, Any],
        fabric: Fabric,
        processes: Processes,
        num_steps: int,
        steps_per_epoch: int,
        watch: LossWatch,
    ) -> None:
        self.model, self.fabric, self.processes, self.clip = model, fabric, processes, config["trainer"]["clip"]
        fabric.setup_module(model)  # moves and converts it in place
        self.optimizer: torch.optim.Optimizer = make_optimizer(config, model)
        self.wrapped_optimizer: Any = fabric.setup_optimizers(self.optimizer)  # its step knows of half precision
        self.schedule = registry.build("schedule", config, self.optimizer, num_steps, steps_per_epoch)
        can_split = config["trainer"]["on_memory"] == "split"
        self.stream = StreamState(config["data"], can_split)  # carried from batch to batch of running text
        self.num_split = 0  # batches that did not fit into memory, in this process
        self.watch, self.stream_before = watch, self.stream.state
        self.judges_at_once = fabric.device.type == "cpu" or watch.policy != "stop"  # else nothing waits for a GPU
        self.num_parts = 0  # batches since the last step
        self.step_sum = zero(fabric.device)  # loss and tokens of those, in this process
        self.clip_factor = torch.tensor(1.0)  # what clipping multiplied the gradient of the last step by

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def accumulate(self, batch: Batch) -> Loss:
        """Add the gradient of a batch to those of the step; returns its loss."""
        if self.num_parts == 0:
            parameters = self.parameters()
            set_gradients(parameters, [None] * len(parameters))  # `zero_grad` takes ten times as long
            self.stream_before = self.stream.state
        self.num_parts += 1
        if not len(batch.rows):  # all its rows are those of other processes
            return zero(self.fabric.device)
        losses = self.stream.losses(self.model, moved(batch, self.fabric.device), self.differentiate)
        self.num_split += len(losses) > 1
        for loss in losses:
            self.step_sum = plus(self.step_sum, loss)
        return functools.reduce(plus, losses)

    def differentiate(self, compute: Callable[[], Loss]) -> Loss:
        """Add the gradient of rows that are computed together, or nothing where their memory runs out; their loss.

        Where it runs out depends on the moment, but the random numbers afterwards do not.
        """
        parameters, random = self.parameters(), dropout_state(self.fabric.device)
        earlier = [parameter.grad for parameter in parameters]  # of the batches before and of other rows
        set_gradients(parameters, [None] * len(parameters))
        try:
            with self.fabric.autocast():
                loss = compute()
                scaled = loss.total / SCALE
            self.fabric.backward(scaled)
        except Exception:
            set_gradients(parameters, earlier)
            restore_dropout_state(self.fabric.device, random)
            raise
        for parameter, gradient in zip(parameters, earlier, strict=True):
            if gradient is not None:
                parameter.grad = gradient if parameter.grad is None else gradient.add_(parameter.grad)
        return loss._replace(total=loss.total.detach())

    def step(self, votes: Sequence[float], ends_epoch: bool) -> tuple[list[float], str]:
        """Update the weights, unless the loss or the gradient diverged; returns sums of votes, and what is wrong.

        The votes are those that all processes give each other on this occasion.
        """
        tokens = self.step_sum.count
        sums = [*votes, float(self.step_sum.total) if self.judges_at_once else 0.0]
        if not self.processes.alone:
            tokens = tokens.double()
            sums = self.reduce(tokens, sums)
        scaler = getattr(self.fabric.strategy.precision, "scaler", None)
        if scaler is not None:
            scaler.scale(zero(self.fabric.device).total)  # sets its scale up where all rows were those of others
            scaler.unscale_(self.optimizer)
        gradients = [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        self.clip_factor, norm = rescale(gradients, SCALE, tokens, self.clip, self.watch.policy != "stop")
        problem = ""
        if self.judges_at_once and (count := float(tokens)):
            problem = self.watch.judge(sums[-1] / count, 0.0 if scaler else float(norm))
        if problem:
            self.stream.state = self.stream_before
            if scaler is not None:
                scaler.update()
        else:
            self.wrapped_optimizer.step()
            if "monitor" not in self.schedule and (ends_epoch or self.schedule["interval"] == "step"):
                self.schedule["scheduler"].step()
        self.forget()
        return sums[:-1], problem

    def forget(self) -> None:
        """Begin the next step."""
        self.step_sum, self.num_parts = zero(self.fabric.device), 0

    def lower_rate(self, factor: float) -> None:
        """Multiply the learning rate of the rest of the run."""
        scheduler = self.schedule["scheduler"]
        for group in self.optimizer.param_groups:
            group["lr"] *= factor
            if "initial_lr" in group:
                group["initial_lr"] *= factor
        if hasattr(scheduler, "base_lrs"):  # not of `plateau`, which changes the rate itself
            scheduler.base_lrs = [rate * factor for rate in scheduler.base_lrs]

    def parameters(self) -> list[Tensor]:
        """The parameters that the optimizer updates."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def reduce(self, tokens: Tensor, votes: Sequence[float]) -> list[float]:
        """Make the gradients and the tokens their sums over the processes; returns those of the votes.

        A parameter that the loss reaches in no process keeps no gradient, as in a run of one process.
        """
        parameters = self.parameters()
        has_gradient = [float(parameter.grad is not None) for parameter in parameters]
        sums = self.processes.total(*votes, *has_gradient)
        gradients = []
        for parameter, is_reached in zip(parameters, sums[len(votes) :], strict=True):
            if is_reached:
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                gradients.append(parameter.grad)
        self.processes.reduce_tensors([*gradients, tokens])
        return sums[: len(votes)]

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on, of all processes; all must call it."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule["scheduler"].state_dict(),
            "precision": self.fabric.strategy.precision.state_dict(),
            "stream": self.stream.gather(self.processes),
            "num_split": self.processes.total(self.num_split)[0],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from there, also with another number of processes."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule["scheduler"].load_state_dict(state["schedule"])
        self.fabric.strategy.precision.load_state_dict(state["precision"])
        self.stream.restore(state["stream"], self.processes)
        self.num_split = int(state["num_split"]) if self.processes.first else 0


def make_optimizer(config: Mapping[str, Any], model: nn.Module) -> Any:
    """The optimizer that the configuration names."""
    try:
        return registry.build("optimizer", config, model.parameters())
    except ValueError as error:  # PyTorch's own, of a momentum below 0, say
        name = config["optimizer"]["name"]
        raise UserError("E-range", f"optimizer={name}", str(error), "correct that option") from error


def set_gradients(parameters: Sequence[Tensor], gradients: Sequence[Tensor | None]) -> None:
    """Give each parameter its gradient."""
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def dropout_state(device: torch.device) -> Tensor:
    """The state of PyTorch's random generator of a device, which dropout draws from."""
    return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()


def restore_dropout_state(device: torch.device, state: Tensor) -> None:
    """Continue with the random numbers after `dropout_state`."""
    if device.type == "cuda":
        torch.cuda.set_rng_state(state, device)
    else:
        torch.set_rng_state(state)


def rescale(
    gradients: list[Tensor], scale: float, tokens: Tensor, clip: float, needs_norm: bool = False
) -> tuple[Tensor, Tensor]:
    """Multiply the gradients by `scale / tokens`, or by less where their norm would then exceed `clip` (0: no limit).

    Returns the part of the factor that clips, and the norm before, which is 0 where nothing needs it. One pass to
    measure and one to multiply, without waiting for the device.
    """
    clip_factor, norm = torch.tensor(1.0), torch.tensor(0.0)
    if not gradients:
        return clip_factor, norm
    factor = scale / tokens.clamp(min=1).to(gradients[0].dtype)
    if clip > 0 or needs_norm:
        norm = torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))) * factor
    if clip > 0:
        clip_factor = (clip / (norm + 1e-6)).clamp(max=1.0)
        factor = factor * clip_factor
    torch._foreach_mul_(gradients, factor)
    return clip_factor, norm
