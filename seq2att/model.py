"""The model: a source field, an encoder and a head as one module; and the bundle that it is saved in.

A bundle is a folder: `config.yaml`, `model.safetensors`, the fields' files under `source/` and `target/`,
`metrics.json` and a model card. It holds no pickle, and loading it imports no plugin but those of seq2att's own
recipes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from seq2att import registry
from seq2att.contracts import check_encoding, check_loss, check_predictions, check_scores
from seq2att.encoder import Encoder
from seq2att.errors import UserError
from seq2att.field import Field, with_side
from seq2att.head import Generator, Head
from seq2att.search import Search
from seq2att.types import Batch, Column, Encoding, Loss, Prediction, State, select

FORMAT = 1  # version of the bundle's format; raised when an earlier seq2att cannot read it


class Model(nn.Module):
    """A source field with its embedding, an encoder, and a head with the target field."""

    def __init__(self, source: Field, target: Field, embedding: nn.Module, encoder: Encoder, head: Head) -> None:
        super().__init__()
        self.source = source
        self.target = target
        self.embedding = embedding
        self.encoder = encoder
        self.head = head

    def encode(self, source: Column) -> Encoding:
        """Encode a source column."""
        inputs = self.embedding(source.values)  # [B, S, E]
        encoding = self.encoder(inputs, source.lengths)
        return check_encoding(self.encoder, encoding, inputs, self.encoder.output_size)

    def forward(self, batch: Batch, state: State = ()) -> Loss:
        """Compute the summed loss of a batch with targets; training calls nothing else."""
        assert batch.target is not None
        return check_loss(self.head, self.head.loss(self.encode(batch.source), batch.target, state))

    def score(self, batch: Batch) -> Tensor:
        """Compute log p(target | source) of every row: `[B]`."""
        assert batch.target is not None
        scores = self.head.score(self.encode(batch.source), batch.target)
        return check_scores(self.head, scores, len(batch.rows))

    def predict(self, batch: Batch, search: Search | None) -> list[Prediction]:
        """Predict every row of the batch, in order; an empty source gets an empty prediction."""
        predictions = [Prediction("", 0.0)] * batch.source.lengths.size(0)
        full = (batch.source.lengths >= int(self.source.has_values)).nonzero().squeeze(1)  # [N]
        source: Column = select(batch.source, full)
        ids, lengths = source.values.tolist(), source.lengths.tolist()
        answers = check_predictions(
            self.head, self.head.predict(self.encode(source), search, batch.rows[full]), len(ids)
        )
        for row, prediction, row_ids, length in zip(full.tolist(), answers, ids, lengths, strict=True):
            pieces = self.source.pieces(row_ids[:length])
            others = tuple(other._replace(source_tokens=pieces) for other in prediction.others)
            predictions[row] = prediction._replace(source_tokens=pieces, others=others)
        return predictions

    def continue_from(self, prefixes: list[Sequence[int]], search: Search, rows: Tensor) -> list[Prediction]:
        """Continue each of the prefixes, by a model without a source; `rows` are their numbers."""
        device = next(self.parameters()).device
        lengths = torch.zeros(len(prefixes), dtype=torch.long, device=device)
        source = Column(lengths.new_zeros(len(prefixes), 0), lengths)
        assert isinstance(self.head, Generator)
        return self.head.predict(self.encode(source), search, rows.to(device), prefixes)


def make(config: Mapping[str, Any], source: Field, target: Field) -> Model:
    """Build the model of a composed configuration, for fitted fields."""
    shared = config.get("share") == "embedding"
    embedding = source.embed()
    encoder = registry.build("encoder", config, embedding.output_size)
    if not hasattr(encoder, "output_size"):
        subject, problem = f"encoder={config['encoder']['name']}", "has no output_size"
        remedy = "set self.output_size in its constructor, to the size M of its outputs [B, S, M]"
        raise UserError("E-contract", subject, problem, remedy)
    head = registry.build("head", config, encoder.output_size, target)
    if shared:
        embedding = head.embedding
        if embedding.output_size != source.embed().output_size:
            remedy = "set source.embedding_size equal to target.embedding_size"
            raise UserError("E-conflict", "share=embedding", "both sides need vectors of one size", remedy)
    return Model(source, target, embedding, encoder, head)


def make_fields(config: Mapping[str, Any]) -> tuple[Field, Field]:
    """Build the source and target fields of a configuration, not fitted yet; with `share` they have one tokenizer."""
    source, target = make_field(config, "source"), make_field(config, "target")
    if config.get("share", "nothing") != "nothing":
        target.share_tokenizer(source)
    return source, target


def make_field(config: Mapping[str, Any], side: str) -> Any:
    """The field of a side; an error names the whole key of the option, as `source.tokenizer.size`."""
    try:
        return registry.build("field", config, slot=side)
    except UserError as error:
        raise with_side(error, side) from error


def save(model: Model, config: Mapping[str, Any], path: Path, metrics: Mapping[str, Any]) -> None:
    """Save a model as a bundle."""
    from omegaconf import OmegaConf
    from safetensors.torch import save_model

    path.mkdir(parents=True, exist_ok=True)
    OmegaConf.save(OmegaConf.create({"format": FORMAT, **config}), path / "config.yaml")
    save_model(model, str(path / "model.safetensors"))
    # safetensors makes its file readable for the owner only.
    (path / "model.safetensors").chmod((path / "config.yaml").stat().st_mode)
    for slot, field in (("source", model.source), ("target", model.target)):
        (path / slot).mkdir(exist_ok=True)
        for name, content in field.files().items():
            (path / slot / name).write_bytes(content)
    (path / "README.md").write_text(card(model, config, metrics), "utf-8")
    # Last: it marks the run as finished.
    (path / "metrics.json").write_text(json.dumps(metrics, indent=2, ensure_ascii=False) + "\n", "utf-8")


def load(path: Path, device: str = "cpu") -> tuple[Model, dict[str, Any]]:
    """Load the model of a bundle, ready to predict, and its configuration."""
    from safetensors import safe_open
    from safetensors.torch import load_model

    config = read_config(path)
    registry.load()
    registry.load_shipped(config.get("plugins") or [])
    try:
        source, target = make_fields(config)
        for slot, field in (("source", source), ("target", target)):
            # A field may have no files, and an empty folder gets lost on the way through git or an archive.
            field.restore({file.name: file.read_bytes() for file in sorted((path / slot).glob("*"))})
        model = make(config, source, target)
    except registry.RegistryError as error:
        raise missing_plugin(path, config, error) from error
    weights = str(path / "model.safetensors")
    with safe_open(weights, "pt") as file:
        model.to(file.get_tensor(next(iter(file.keys()))).dtype)  # float64 stays float64
    load_model(model, weights, device="cpu")
    return model.to(device).eval(), config


def read_config(path: Path) -> dict[str, Any]:
    """Read the configuration of a bundle."""
    from omegaconf import OmegaConf

    if not path.is_dir():
        near = sorted(str(item.parent) for item in path.parent.glob("*/model.safetensors"))
        remedy = f"{registry.suggestion(str(path), near)}; train one with seq2att train RECIPE"
        raise UserError("E-bundle", f"{path}", "there is no such folder", remedy)
    needed = [path / name for name in ("config.yaml", "model.safetensors")]
    missing = [file.name for file in needed if not file.is_file()]
    if missing:
        remedy = "resume its training" if (path / "checkpoints").is_dir() else "name the folder of a finished run"
        raise UserError("E-bundle", f"{path}", f"{' and '.join(missing)} is missing, so it is no bundle", remedy)
    config = OmegaConf.to_container(OmegaConf.load(path / "config.yaml"))
    assert isinstance(config, dict)
    if config.pop("format", 0) > FORMAT:
        problem = f"its format is newer than this seq2att reads ({FORMAT})"
        raise UserError("E-bundle", f"{path}/config.yaml", problem, "upgrade seq2att")
    return {str(key): value for key, value in config.items()}


def missing_plugin(path: Path, config: Mapping[str, Any], error: registry.RegistryError) -> UserError:
    """The error about a bundle with a component that is not installed."""
    plugins = config.get("plugins") or []
    remedy = "install the plugin that brings it"
    if plugins:
        names = ",".join(plugins)
        remedy = f"give 'plugins=[{names}]' on the command line, load(..., plugins=[...]) in Python, or install them"
    return UserError("E-plugin", f"{path}", f"{error.subject}: {error.problem}", remedy)


def card(model: Model, config: Mapping[str, Any], metrics: Mapping[str, Any]) -> str:
    """The model card: components, usage and metrics."""
    has_attention = "decoder" in config or "attend" in config["head"].get("pool", ())
    slots = ("encoder", "decoder", *(["attention"] if has_attention else []))
    names = [f"{slot}={config[slot]['name']}" for slot in slots if slot in config]
    task = model.head.task
    argument = '"..."' if task != "generate" or not model.source.has_values else '["..."]'
    answer = "[0].text" if argument.startswith("[") else ".text"
    lines = [
        f"# {config.get('recipe', 'model')}",
        "",
        f"A seq2att model: head={config['head']['name']}, {', '.join(names)}, {parameter_count(model):,} parameters, "
        f"seed {config.get('seed')}.",
        "",
        "    import seq2att",
        f'    print(seq2att.load(".").{task}({argument}){answer})',
        "",
        "| metric on the validation split | value |",
        "|---|---|",
    ]
    values = metrics.get("validation", metrics)
    lines += [f"| {name} | {value:.4g} |" for name, value in values.items() if isinstance(value, int | float)]
    return "\n".join(lines) + "\n"


def parameter_count(model: nn.Module) -> int:
    """The number of trainable parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


__all__ = ["Model", "load", "make", "make_fields", "parameter_count", "save"]
