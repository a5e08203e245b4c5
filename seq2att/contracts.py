"""Contracts: what a component returns is checked where components meet, so that an error names what was expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from seq2att.errors import UserError
from seq2att.registry import entries, expect
from seq2att.types import Attended, Decoded, Encoding, Hypotheses, Loss, Memory, Prediction, State, leaves


def setting_name(kind: str, component: object, slot: str = "") -> str:
    """The setting that chooses a component (an object or its class), as in `target=tags`."""
    cls = component if isinstance(component, type) else type(component)
    names = [name for name, entry in entries(kind).items() if entry.target is cls]
    return f"{slot or kind}={names[0] if names else cls.__name__}"


def describe(value: object) -> str:
    """Describe a value in an error: its type; of a tensor its shape and dtype."""
    if isinstance(value, Tensor):
        return f"a tensor of shape {list(value.shape)} and dtype {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, tuple) and not hasattr(value, "_fields"):
        return f"a tuple of {len(value)}"
    return "None" if value is None else type(value).__name__


def contract_error(kind: str, component: object, method: str, expected: str, value: object) -> UserError:
    """The error about a component whose method returned something other than its base class promises."""
    problem = f"{method} must return {expected}, got {describe(value)}"
    return UserError("E-contract", setting_name(kind, component), problem, f"docs/plugins/{kind}.md has an example")


def is_shaped(value: object, *sizes: int | None) -> bool:
    """Whether a value is a tensor of these sizes; None is any size."""
    return (
        isinstance(value, Tensor)
        and len(value.shape) == len(sizes)
        and all(size is None or size == own for size, own in zip(sizes, value.shape, strict=True))
    )


def check_state(component: object, method: str, state: State, batch: int) -> None:
    """Raise `E-contract` unless dimension 0 of every tensor of a decoder's state is the batch."""
    try:
        is_valid = all(tensor.dim() > 0 and tensor.size(0) == batch for tensor in leaves(state))
    except TypeError:  # a leaf that is not a tensor
        is_valid = False
    if not is_valid:
        expected = f"a state that is a tree of tensors whose dimension 0 is the batch ({batch})"
        raise contract_error("decoder", component, method, expected, state)


def check_steps(
    kind: str, component: object, part: str, values: Tensor, weights: Any, inputs: Tensor, size: int
) -> None:
    """Raise `E-contract` unless `values` is `[B, T, size]`, and `weights` `[B, T, S]` or None, for inputs `[B, T, E]`.

    `part` names the values and their last dimension, as in `outputs D`.
    """
    (batch, steps), (name, letter) = inputs.shape[:2], part.rsplit(" ", 1)
    if not isinstance(values, Tensor) or values.shape != (batch, steps, size):
        expected = f"{name} [B, T, {letter}] with B={batch}, T={steps} and {letter}=output_size={size}"
        raise contract_error(kind, component, "forward", expected, values)
    if weights is not None and not is_shaped(weights, batch, steps, None):
        raise contract_error(kind, component, "forward", f"weights [B, T, S] with B={batch} and T={steps}", weights)


def check_encoding(encoder: object, value: object, inputs: Tensor, size: int) -> Encoding:
    """Return the encoding of `inputs` `[B, S, E]` with M = `size`; raise `E-contract` where it is wrong."""
    encoding = expect(value, Encoding, "encoder", encoder)
    batch, (outputs, mask, final) = inputs.size(0), encoding
    sizes = f"with B={batch} and M=output_size={size}"
    if not is_shaped(outputs, batch, None, size):
        raise contract_error("encoder", encoder, "forward", f"outputs [B, S, M] {sizes}", outputs)
    if not is_shaped(mask, *outputs.shape[:2]) or mask.dtype != torch.bool:
        raise contract_error("encoder", encoder, "forward", f"a bool mask of shape {list(outputs.shape[:2])}", mask)
    if not isinstance(final, tuple):
        raise contract_error("encoder", encoder, "forward", "final as a tuple of states [B, L, M]", final)
    for state in final:
        if not is_shaped(state, batch, None, size):
            raise contract_error("encoder", encoder, "forward", f"final states [B, L, M] {sizes}", state)
    return encoding


def check_start(decoder: object, value: object, batch: int) -> tuple[Memory, State]:
    """Return the memory and the first state of a decoder; raise `E-contract` where they are wrong."""
    if not isinstance(value, tuple) or len(value) != 2 or not isinstance(value[0], Memory):
        raise contract_error("decoder", decoder, "start", "(Memory, state)", value)
    check_state(decoder, "start", value[1], batch)
    return value[0], value[1]


def check_decoded(decoder: object, value: object, inputs: Tensor, size: int) -> Decoded:
    """Return what a decoder with D = `size` made of `inputs` `[B, T, E]`; raise `E-contract` where it is wrong."""
    decoded = expect(value, Decoded, "decoder", decoder)
    check_steps("decoder", decoder, "outputs D", decoded.outputs, decoded.weights, inputs, size)
    if inputs.size(1) > 1:  # not at every step of a search
        check_state(decoder, "forward", decoded.state, inputs.size(0))
    return decoded


def check_attended(attention: object, value: object, query: Tensor, size: int) -> Attended:
    """Return what an attention with C = `size` made of `query` `[B, T, Q]`; raise `E-contract` where it is wrong."""
    attended = expect(value, Attended, "attention", attention)
    check_steps("attention", attention, "a context C", attended.context, attended.weights, query, size)
    return attended


def check_hypotheses(search: object, value: object, batch: int) -> Hypotheses:
    """Return the hypotheses of a search for B = `batch` rows; raise `E-contract` where they are wrong."""
    hypotheses = expect(value, Hypotheses, "search", search)
    tokens = hypotheses.tokens
    if not is_shaped(tokens, batch, None, None) or tokens.dtype != torch.int64:
        raise contract_error("search", search, "__call__", f"int64 tokens [B, K, T] with B={batch}", tokens)
    count, steps = tokens.shape[1:]
    for name, sizes in (("lengths", (batch, count)), ("scores", (batch, count)), ("log_probs", (batch, count, steps))):
        part = getattr(hypotheses, name)
        if not is_shaped(part, *sizes):
            raise contract_error("search", search, "__call__", f"{name} of shape {list(sizes)}", part)
    weights = hypotheses.weights
    if weights is not None and not is_shaped(weights, batch, count, steps, None):
        expected = f"weights [B, K, T, S] with B, K, T = {batch}, {count}, {steps}"
        raise contract_error("search", search, "__call__", expected, weights)
    return hypotheses


def check_loss(head: object, value: object) -> Loss:
    """Return the loss of a head; raise `E-contract` unless its total and its counts are scalars."""
    loss = expect(value, Loss, "head", head)
    for name, part in (("total", loss.total), ("count", loss.count), ("correct", loss.correct)):
        if not is_shaped(part) and (part is not None or name != "correct"):
            raise contract_error("head", head, "loss", f"a scalar tensor as {name}", part)
    return loss


def check_scores(head: object, value: object, batch: int) -> Tensor:
    """Return the scores of a head; raise `E-contract` unless there is one for each row."""
    if not isinstance(value, Tensor) or value.shape != (batch,):
        raise contract_error("head", head, "score", f"a tensor of shape [{batch}]", value)
    return value


def check_token_scores(head: object, value: object, batch: int) -> Tensor:
    """Return the terms of the scores of a head; raise `E-contract` unless there is a line of them for each row."""
    if not isinstance(value, Tensor) or value.dim() != 2 or value.size(0) != batch:
        raise contract_error("head", head, "token_scores", f"a tensor of shape [{batch}, T]", value)
    return value


def check_predictions(head: object, value: Any, batch: int) -> Sequence[Prediction]:
    """Return the predictions of a head; raise `E-contract` unless there is one for each row."""
    if not isinstance(value, list) or not all(isinstance(prediction, Prediction) for prediction in value):
        raise contract_error("head", head, "predict", "a list of Prediction", value)
    if len(value) != batch:
        problem = f"predict must return {batch} predictions, got {len(value)}"
        raise UserError("E-contract", setting_name("head", head), problem, "docs/plugins/head.md has an example")
    return value
