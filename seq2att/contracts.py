"""Contracts: what a component returns is checked where components meet, so that a plugin is told what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seq2att.errors import UserError
from seq2att.registry import entries, expect
from seq2att.types import Attended, Decoded, Encoding, Loss, Memory, Prediction, State, leaves


def setting_name(kind: str, component: object, slot: str = "") -> str:
    """The setting that asks for a component (an object or its class), as in `target=tags`."""
    cls = component if isinstance(component, type) else type(component)
    names = [name for name, entry in entries(kind).items() if entry.target is cls]
    return f"{slot or kind}={names[0] if names else cls.__name__}"


def describe(value: object) -> str:
    """A value in an error: the type, and of a tensor its shape and type."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)} and type {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"a tuple of {len(value)}"
    return "None" if value is None else type(value).__name__


def contract_error(kind: str, component: object, what: str, expected: str, value: object) -> UserError:
    """The error about a component that returned something else than its base class promises."""
    problem = f"{what} must return {expected}, got {describe(value)}"
    return UserError("E-contract", setting_name(kind, component), problem, f"docs/plugins/{kind}.md has an example")


def check_encoding(encoder: object, value: object, inputs: Tensor, size: int) -> Encoding:
    """Return the encoding of `inputs` `[B, S, E]`; raise `E-contract` where a part of it is wrong."""
    encoding = expect(value, Encoding, "encoder", encoder)
    batch, outputs, mask = inputs.size(0), encoding.outputs, encoding.mask
    if not isinstance(outputs, Tensor) or outputs.dim() != 3 or outputs.size(0) != batch or outputs.size(2) != size:
        raise contract_error(
            "encoder", encoder, "forward", f"outputs [B, S, M] with B={batch} and M=output_size={size}", outputs
        )
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool or mask.shape != outputs.shape[:2]:
        raise contract_error("encoder", encoder, "forward", f"a bool mask of shape {list(outputs.shape[:2])}", mask)
    if not isinstance(encoding.final, tuple):
        raise contract_error("encoder", encoder, "forward", "final as a tuple of states [B, L, M]", encoding.final)
    for final in encoding.final:
        if not isinstance(final, Tensor) or final.dim() != 3 or final.size(0) != batch:
            raise contract_error("encoder", encoder, "forward", f"final states [B, L, M] with B={batch}", final)
    return encoding


def check_start(decoder: object, value: object, batch: int) -> tuple[Memory, State]:
    """Return the memory and the first state of a decoder; raise `E-contract` where they are wrong."""
    if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[0], Memory):
        raise contract_error("decoder", decoder, "start", "(Memory, state)", value)
    try:
        tensors = leaves(value[1])
    except TypeError:
        tensors = [torch.empty(0)]
    for tensor in tensors:
        if tensor.dim() == 0 or tensor.size(0) != batch:
            expected = f"a state that is a tree of tensors whose dimension 0 is the batch ({batch})"
            raise contract_error("decoder", decoder, "start", expected, tensor)
    return value[0], value[1]


def check_decoded(decoder: object, value: object, inputs: Tensor) -> Decoded:
    """Return what a decoder made of `inputs` `[B, T, E]`; raise `E-contract` where it is wrong."""
    decoded = expect(value, Decoded, "decoder", decoder)
    if not isinstance(decoded.outputs, Tensor) or decoded.outputs.shape[:2] != inputs.shape[:2]:
        expected = f"outputs [B, T, D] with B, T = {list(inputs.shape[:2])}"
        raise contract_error("decoder", decoder, "forward", expected, decoded.outputs)
    return decoded


def check_attended(attention: object, value: object, query: Tensor) -> Attended:
    """Return what an attention read for the queries `[B, T, Q]`; raise `E-contract` where it is wrong."""
    attended = expect(value, Attended, "attention", attention)
    if not isinstance(attended.context, Tensor) or attended.context.shape[:2] != query.shape[:2]:
        expected = f"a context [B, T, C] with B, T = {list(query.shape[:2])}"
        raise contract_error("attention", attention, "forward", expected, attended.context)
    return attended


def check_loss(head: object, value: object) -> Loss:
    """Return the loss of a head; raise `E-contract` unless its total and count are scalars."""
    loss = expect(value, Loss, "head", head)
    for name, part in (("total", loss.total), ("count", loss.count)):
        if not isinstance(part, Tensor) or part.dim() != 0:
            raise contract_error("head", head, "loss", f"a scalar tensor as {name}", part)
    return loss


def check_scores(head: object, value: object, batch: int) -> Tensor:
    """Return the scores of a head; raise `E-contract` unless there is one for each row."""
    if not isinstance(value, Tensor) or value.shape != (batch,):
        raise contract_error("head", head, "score", f"a tensor of shape [{batch}]", value)
    return value


def check_predictions(head: object, value: Any, batch: int) -> Sequence[Prediction]:
    """Return the predictions of a head; raise `E-contract` unless there is one for each row."""
    if not isinstance(value, list) or not all(isinstance(one, Prediction) for one in value):
        raise contract_error("head", head, "predict", "a list of Prediction", value)
    if len(value) != batch:
        raise UserError(
            "E-contract", setting_name("head", head), f"predict must return {batch} predictions, got {len(value)}"
        )
    return value
