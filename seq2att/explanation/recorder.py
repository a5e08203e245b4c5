"""Records what a copy of a model computes: the methods of its modules are replaced by ones that note their results.

The model itself is untouched. Replaced methods keep every fast path away (`recurrence.is_exact`), so that what is
noted are the tensors of the reference, and those that the answer is made of.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from seq2att.attention import Attention
from seq2att.decoder import Decoder, DecoderState, RecurrentDecoder
from seq2att.encoder import Encoder
from seq2att.explanation.equations import CELL_EQUATIONS, SOFTMAX, embedding_equation, score_equation
from seq2att.head import Classification, Generator, Head, Regression, Tagging
from seq2att.head.pooling import Pool, Pooled, PooledHead
from seq2att.output import Linear
from seq2att.recurrence import Layer
from seq2att.recurrence.reference import Activation, Run, unroll
from seq2att.types import Attended, Decoded, Encoding, Memory, State, leaves

LAYER_NAMES = (  # the paths of layers inside the modules that we have, and their names
    (re.compile(r"forwards\.(\d+)"), r"layer\1.forward"),
    (re.compile(r"backwards\.(\d+)"), r"layer\1.backward"),
    (re.compile(r"stack\.layers\.(\d+)"), r"layer\1"),
)
STATE_NAMES = ("hidden_state", "cell_state")


class Part(NamedTuple):
    """What was noted by one name, in the order of the calls."""

    chunks: list[Tensor]  # [1, ...] each
    axes: tuple[str, ...]  # without the batch
    equation: str

    def whole(self) -> Tensor:
        """The chunks side by side along time, without the batch."""
        if len(self.chunks) == 1:
            return self.chunks[0][0]
        time = self.axes.index("target" if "target" in self.axes else "source")
        return torch.cat(self.chunks, time + 1)[0]


class Recorder:
    """The tensors of one pass over one row, by name."""

    def __init__(self) -> None:
        self.parts: dict[str, Part] = {}
        self.states: dict[str, list[Tensor]] = {}  # [1, H] each, in the order of the positions
        self.averages: set[str] = set()  # attentions whose context is the sum of weights times values

    def add(self, name: str, value: Tensor, axes: tuple[str, ...], equation: str = "") -> None:
        """Note a tensor `[1, ...]`; a name that is noted again goes on along its time axis."""
        if value.size(0) != 1 or value.numel() == 0:  # a module inside a plugin, with a batch of its own
            return
        if name in self.parts:
            self.parts[name].chunks.append(value)
        else:
            axes = ("head",) * (value.dim() - 1 - len(axes)) + axes
            self.parts[name] = Part([value], axes, equation)

    def once(self, name: str, value: Tensor, axes: tuple[str, ...], equation: str = "") -> None:
        """Note a tensor that is the same at every step."""
        if name not in self.parts:
            self.add(name, value, axes, equation)

    def get(self, name: str) -> Tensor | None:
        """What was noted by a name, without the batch."""
        return self.parts[name].whole() if name in self.parts else None


def watch(module: nn.Module, method: str, note: Callable[..., None]) -> None:
    """Call `note(result, *arguments)` after each call of a method of this one object."""
    original = getattr(module, method)

    def call(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options)
        note(result, *arguments, **options)
        return result

    setattr(module, method, call)


def record(model: Any) -> Recorder:
    """Note from now on what this model computes for one row; it is a copy that is used for nothing else."""
    recorder = Recorder()
    watch_modules(recorder, model.encoder, "source", "encoder")
    watch_encoder(recorder, model.encoder, embedding_equation(model.embedding, "x_s = E[w_s]"))
    watch_modules(recorder, model.head, "target", "")
    if isinstance(model.head, Generator):
        watch_decoder(recorder, model.head.decoder, embedding_equation(model.head.embedding, "x_t = E[y_{t-1}]"))
        watch_output(recorder, model.head.output)
    watch_head(recorder, model.head)
    return recorder


def watch_modules(recorder: Recorder, root: nn.Module, time: str, prefix: str) -> None:
    """Watch all layers and attentions inside a module."""
    for path, module in root.named_modules():
        name = f"{prefix}.{path}".strip(".")
        if isinstance(module, Layer) and type(module).forward is Layer.forward:
            watch_layer(recorder, module, time, layer_name(name))
        elif isinstance(module, Attention):
            pooled = name == "pool.attention"
            name = {"decoder.attention": "attention", "pool.attention": "pooling"}.get(name, name)
            watch_attention(recorder, module, None if pooled else time, name)
        elif isinstance(module, Pool):
            watch_pool(recorder, module)


def layer_name(path: str) -> str:
    """The name of a layer, as `encoder.layer0.forward` for `encoder.forwards.0`."""
    for pattern, name in LAYER_NAMES:
        path = pattern.sub(name, path)
    return path


def watch_layer(recorder: Recorder, layer: Layer, time: str, name: str) -> None:
    """Run a layer step by step by its equations, and note inputs, gates and states."""
    original = layer.forward

    def forward(
        inputs: Tensor,
        state: tuple[Tensor, ...],
        lengths: Tensor | None = None,
        backwards: bool = False,
        hidden_mask: Tensor | None = None,
    ) -> Run:
        """As `Layer.forward`; it notes nothing of several rows, no step, or padding."""
        is_padded = lengths is not None and bool((lengths != inputs.size(1)).any())
        if inputs.size(0) != 1 or inputs.size(1) == 0 or is_padded:
            return original(inputs, state, lengths, backwards, hidden_mask)
        steps = unroll(layer.cell, inputs, state, layer.weights(hidden_mask), backwards)
        recorder.add(f"{name}.inputs", inputs, (time, "unit"))
        for part, value in zip(STATE_NAMES, state, strict=False):
            recorder.once(f"{name}.initial_{part}", value, ("unit",))
        outputs = note_steps(recorder, steps, name, time, CELL_EQUATIONS[layer.cell])
        return Run(outputs, steps[0 if backwards else -1].state)

    setattr(layer, "forward", forward)  # noqa: B010  # a type checker forbids the assignment


def note_steps(
    recorder: Recorder, steps: list[Activation], name: str, time: str, equations: Mapping[str, str]
) -> Tensor:
    """Note gates and states of every step `[1, T, H]`; return the hidden states."""
    for gate in steps[0].gates:
        values = torch.stack([step.gates[gate] for step in steps], 1)
        recorder.add(f"{name}.{gate}_gate", values, (time, "unit"), equations[f"{gate}_gate"])
    stacked = torch.stack([step.state[0] for step in steps], 1)
    for number in reversed(range(len(steps[0].state))):  # c first: h is made of it
        part, states = STATE_NAMES[number], [step.state[number] for step in steps]
        values = stacked if number == 0 else torch.stack(states, 1)
        recorder.states.setdefault(f"{name}.{part}", []).extend(states)
        recorder.add(f"{name}.{part}", values, (time, "unit"), equations[part])
    return stacked


def watch_attention(recorder: Recorder, attention: Attention, time: str | None, name: str) -> None:
    """Note query, keys, values, scores, weights and context; `time` None: there is one query."""
    if attention.output_size == 0:
        return
    call: dict[str, Tensor] = {}  # of the call that runs

    def note(part: str, value: Tensor, axes: tuple[str, ...], equation: str = "") -> None:
        if time is None:
            recorder.once(f"{name}.{part}", value.squeeze(-2), axes, equation)
        else:
            recorder.add(f"{name}.{part}", value, (time, *axes), equation)

    def on_score(scores: Tensor, query: Tensor, keys: State) -> None:
        call["scores"] = scores

    def on_normalize(weights: Tensor, scores: Tensor, mask: Tensor) -> None:
        call.update(scores=scores, weights=weights)

    def on_forward(attended: Attended, query: Tensor, memory: Memory, state: State = ()) -> None:
        """Note all parts of one call."""
        note("query", query, ("unit",))
        tensors = leaves(memory.keys)
        for number, key in enumerate(tensors):
            recorder.once(f"{name}.keys{f'.{number}' if len(tensors) > 1 else ''}", key, ("source", "unit"))
        recorder.once(f"{name}.values", memory.values, ("source", "unit"))
        if "scores" in call:
            note("scores", call["scores"], ("source",), score_equation(attention))
        if "weights" in call and call["weights"].dim() > 3:
            note("head_weights", call["weights"], ("source",), softmax)
        if attended.weights is not None:
            is_normalized = attended.weights is call.get("weights")  # else made otherwise, as a mean over heads
            note("weights", attended.weights, ("source",), softmax if is_normalized else "")
        note("context", attended.context, ("unit",), "c_t = Σ_s α_ts v_s" if is_average else "")
        call.clear()

    is_average = type(attention).forward is Attention.forward
    softmax = SOFTMAX if type(attention).normalize is Attention.normalize else ""
    if is_average:
        recorder.averages.add(name)
    watch(attention, "score", on_score)
    watch(attention, "normalize", on_normalize)
    watch(attention, "forward", on_forward)


def watch_encoder(recorder: Recorder, encoder: Encoder, embedding: str) -> None:
    """Note the embedded source, by the equation `embedding`, the outputs and the final states."""

    def on_forward(encoding: Encoding, inputs: Tensor, lengths: Tensor) -> None:
        recorder.once("encoder.outputs", encoding.outputs, ("source", "unit"))
        for part, value in zip(STATE_NAMES, encoding.final, strict=False):
            recorder.once(f"encoder.final_{part}", value, ("layer", "unit"))

    watch(encoder, "forward", on_forward)
    watch_inputs(recorder, encoder, "source", embedding)


def watch_inputs(recorder: Recorder, module: nn.Module, side: str, equation: str) -> None:
    """Note the embedded inputs of an encoder or decoder before it runs; the path of the gradient ends there."""
    original = module.forward

    def forward(inputs: Tensor, *others: Any) -> Any:
        if torch.is_grad_enabled() and inputs.size(1):
            inputs = inputs.detach().requires_grad_()
            recorder.states.setdefault(f"{side}.embedding", []).append(inputs)
        recorder.once(f"{side}.embedding", inputs, (side, "unit"), equation)
        return original(inputs, *others)

    setattr(module, "forward", forward)  # noqa: B010  # a type checker forbids the assignment


def watch_decoder(recorder: Recorder, decoder: Decoder, embedding: str) -> None:
    """Note the first states, the embedded tokens, by the equation `embedding`, what the readout reads, the outputs."""

    def on_start(started: tuple[Memory, State], encoding: Encoding) -> None:
        _, state = started
        layers = state.layers if isinstance(state, DecoderState) else ()
        for part, value in zip(STATE_NAMES, layers, strict=False):
            recorder.once(f"decoder.initial_{part}", value, ("layer", "unit"))

    def on_finish(decoded: Decoded, mixed: list[Tensor], *others: Any) -> None:
        assert isinstance(decoder, RecurrentDecoder)
        if decoder.readout is not None:
            recorder.add("decoder.concatenation", torch.cat(mixed, 2), ("target", "unit"), mixed_equation(decoder))

    def on_forward(decoded: Decoded, inputs: Tensor, *others: Any) -> None:
        recorder.once("decoder.outputs", decoded.outputs, ("target", "unit"), readout_equation(decoder))
        if decoded.weights is not None and decoded.weights.size(2):
            recorder.once("attention.weights", decoded.weights, ("target", "source"))

    watch(decoder, "start", on_start)
    if isinstance(decoder, RecurrentDecoder):
        watch(decoder, "finish", on_finish)
    watch(decoder, "forward", on_forward)
    watch_inputs(recorder, decoder, "target", embedding)


def mixed_equation(decoder: RecurrentDecoder) -> str:
    """What the readout of a decoder reads."""
    parts = ["h_t", *["c_t"] * (decoder.attention.output_size > 0), *["x_t"] * decoder.query_first]
    return f"[{' ; '.join(parts)}]"


def readout_equation(decoder: Decoder) -> str:
    """The equation of the outputs of a recurrent decoder."""
    if not isinstance(decoder, RecurrentDecoder):
        return ""
    return "u_t = h_t" if decoder.readout is None else f"u_t = tanh(W {mixed_equation(decoder)})"


def watch_output(recorder: Recorder, output: nn.Module) -> None:
    """Note the distribution over the vocabulary."""

    def on_log_probs(log_probs: Tensor, outputs: Tensor) -> None:
        equation = "log p_t = log softmax(W u_t + b)" if isinstance(output, Linear) else ""
        recorder.once("output.log_probs", log_probs.unsqueeze(0), ("target", "vocabulary"), equation)

    watch(output, "log_probs", on_log_probs)


def watch_pool(recorder: Recorder, pool: Pool) -> None:
    """Note every pooling, and the vector of all."""

    def on_part(pooled: Pooled, kind: str, encoding: Encoding) -> None:
        recorder.once(f"pooling.{kind}", pooled.values, ("unit",), POOL_EQUATIONS.get(kind, ""))

    def on_forward(pooled: Pooled, encoding: Encoding) -> None:
        recorder.once("pooling.vector", pooled.values, ("unit",))

    watch(pool, "part", on_part)
    watch(pool, "forward", on_forward)


POOL_EQUATIONS = {"last": "h_S", "mean": "1/S Σ_s h_s", "max": "max_s h_s", "attend": "Σ_s α_s h_s"}
HEAD_PARTS: tuple[tuple[type[Head], str, str, tuple[str, ...], str], ...] = (
    (PooledHead, "features", "head.hidden", ("unit",), "f(W p + b)"),
    (Classification, "logits", "head.logits", ("class",), "z = W p + b"),
    (Classification, "outputs", "head.log_probs", ("class",), "log p = log softmax(z)"),
    (Regression, "outputs", "head.value", (), "y = W p + b"),
    (Tagging, "features", "head.hidden", ("source", "unit"), "tanh(W h_s + b)"),
    (Tagging, "emissions", "head.emissions", ("source", "tag"), "e_s = W h_s + b"),
    (Tagging, "log_probs", "head.log_probs", ("source", "tag"), ""),
)
"""Methods of heads whose results are noted: class, method, name, axes, equation."""


def watch_head(recorder: Recorder, head: Head) -> None:
    """Note what a head computes before its answer."""
    for kind, method, name, axes, equation in HEAD_PARTS:
        if isinstance(head, kind) and (method != "features" or getattr(head, "hidden", None) is not None):
            watch(head, method, make_note(recorder, name, axes, equation))


def make_note(recorder: Recorder, name: str, axes: tuple[str, ...], equation: str) -> Callable[..., None]:
    """Make what notes a tensor, or the values of a pool, under a name."""

    def note(result: Tensor | Pooled, *arguments: Any) -> None:
        recorder.once(name, result.values if isinstance(result, Pooled) else result, axes, equation)

    return note
