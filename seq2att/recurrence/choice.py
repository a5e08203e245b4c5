"""Which of two equal tiers computes: the reference in PyTorch or the C++ kernels; everything that decides it is here.

The kernels compute where they can be compiled, on plain float32 or float64 tensors of a CPU. All else is the
reference: a GPU (which has cuDNN), other precisions, autocast, `torch.compile`, tracing, `torch.func`, and modules that
are subclassed, hooked or changed. `SEQ2ATT_KERNEL=torch` selects the reference everywhere; `SEQ2ATT_KERNEL=cpp` makes
it an error that the kernels cannot be built.
"""

from __future__ import annotations

import operator
import os
from typing import Any

import torch
from torch import Tensor, nn

from seq2att.errors import UserError
from seq2att.recurrence.native import build

VARIABLE = "SEQ2ATT_KERNEL"
KERNELS = ("torch", "cpp")
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def requested_kernel() -> str | None:
    """The tier that `SEQ2ATT_KERNEL` selects, or None."""
    kernel = os.environ.get(VARIABLE) or None
    if kernel is not None and kernel not in KERNELS:
        raise UserError(
            "E-choice", f"{VARIABLE}={kernel}", f"must be one of {', '.join(KERNELS)}", "or unset it to have one chosen"
        )
    return kernel


def is_compiled() -> bool:
    """Whether the C++ kernels are there and may be used. Raises: `UserError` where cpp is requested but not there."""
    kernel = requested_kernel()
    if kernel == "torch":
        return False
    reason = build.failure()
    if reason is not None and kernel == "cpp":
        raise UserError(
            "E-kernel",
            f"{VARIABLE}=cpp",
            f"the C++ kernels cannot be built ({reason})",
            f"install a C++ compiler or set {VARIABLE}=torch",
        )
    return reason is None


def use_native(*tensors: Tensor) -> bool:
    """Whether the C++ kernels compute with these tensors, at least one of which is given."""
    if is_traced() or not are_plain(*tensors):
        return False
    dtype = tensors[0].dtype
    if dtype not in (torch.float32, torch.float64) or any(tensor.dtype != dtype for tensor in tensors):
        return False
    return is_compiled()


def is_traced() -> bool:
    """Whether a compiler or a tracer records the call, so that sizes and values must not decide anything."""
    return torch.compiler.is_compiling() or bool(torch_private("jit.is_tracing", False))


def are_plain(*tensors: Tensor) -> bool:
    """Whether these are ordinary tensors of a CPU, without autocast, tracing, transforms or dispatch modes."""
    return (
        all(type(tensor) in (Tensor, nn.Parameter) and tensor.device.type == "cpu" for tensor in tensors)
        and not torch.is_autocast_enabled("cpu")
        and not is_traced()
        and not torch_private("_C._len_torch_dispatch_stack", 0)
        and not torch_private("_C._are_functorch_transforms_active", False)
        and all(torch.autograd.forward_ad.unpack_dual(tensor).tangent is None for tensor in tensors)
    )


def is_exact(module: nn.Module, *classes: type[nn.Module]) -> bool:
    """Whether a fast path may stand for this module: it and all modules in it are exactly of `classes`, and unchanged.

    A subclass, a module of another class inside, a hook, a parametrization or a method replaced on the instance make
    it False, so that each of them gets its own answer.
    """
    if torch_private("nn.modules.module._has_any_global_hook", True):
        return False
    return all(type(part) in classes and not is_changed(part) for part in module.modules())


def is_changed(module: nn.Module) -> bool:
    """Whether hooks watch this module, or attributes of the instance replace methods of its class."""
    if any(getattr(module, hooks, None) for hooks in HOOKS):
        return True
    return any(callable(getattr(type(module), name, None)) for name in vars(module))


def keeps_graph() -> bool:
    """Whether the graph of the running backward pass stays, so that its gradients may be computed once more."""
    return bool(torch_private("_C._autograd._get_current_graph_task_keep_graph", True))


def torch_private(name: str, default: Any) -> Any:
    """Call a function that not every version of torch has, by its dotted name; `default` where it is missing."""
    try:
        function = operator.attrgetter(name)(torch)
    except AttributeError:
        return default
    return function()
