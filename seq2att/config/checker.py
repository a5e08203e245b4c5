"""The one checker of settings: recipes, overrides and the jobs of a sweep pass through it."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from typing import Any

from seq2att.config.options import ConfigError
from seq2att.config.override import Override, is_sweep, is_text, sweep_problem
from seq2att.config.recipe import presets
from seq2att.config.slots import LISTED, SETTING_OF, TRAINER, Lists, Schema, Slots
from seq2att.errors import UserError
from seq2att.registry import MISSING, Option, entries, format_value, suggestion, unknown_component
from seq2att.registry.value import closest, parts, shorten_value

ALIASES = {  # what other toolkits call our options
    **dict.fromkeys(("lr", "rate", "step_size"), "learning_rate"),
    **dict.fromkeys(("wd", "l2"), "weight_decay"),
    **dict.fromkeys(("eps",), "epsilon"),
    **dict.fromkeys(("betas", "beta_1"), "beta1"),
    **dict.fromkeys(("beta_2",), "beta2"),
    **dict.fromkeys(("hidden_size", "hidden_dim", "hidden", "units", "num_units", "rnn_size", "vocab_size"), "size"),
    **dict.fromkeys(("beam", "beam_size", "num_beams", "beam_width"), "size"),
    **dict.fromkeys(("num_layers", "n_layers", "nlayers", "depth"), "layers"),
    **dict.fromkeys(("emb_size", "emb_dim", "embedding_dim", "embed_dim", "word_vec_size"), "embedding_size"),
    **dict.fromkeys(("dropout_rate", "dropout_prob", "drop"), "dropout"),
    **dict.fromkeys(("bidir", "birnn"), "bidirectional"),
    **dict.fromkeys(("batch", "bs", "batchsize", "per_device_train_batch_size"), "batch_size"),
    **dict.fromkeys(("max_len", "max_seq_length", "max_target_length"), "max_length"),
    **dict.fromkeys(("max_epochs", "num_epochs", "epoch", "num_train_epochs", "n_epochs"), "epochs"),
    **dict.fromkeys(("train_steps", "num_steps", "max_updates"), "max_steps"),
    **dict.fromkeys(("grad_clip", "clip_norm", "max_grad_norm", "gradient_clip_val", "clip_gradient"), "clip"),
    **dict.fromkeys(("accum_count", "update_freq", "accumulate_grad_batches"), "accumulate"),
    **dict.fromkeys(("warmup", "warmup_updates", "num_warmup_steps"), "warmup_steps"),
    **dict.fromkeys(("early_stopping", "early_stopping_patience"), "patience"),
    **dict.fromkeys(("device",), "accelerator"),
    **dict.fromkeys(("gpus", "num_gpus", "n_gpu", "world_size"), "devices"),
    **dict.fromkeys(("random_seed", "manual_seed"), "seed"),
    **dict.fromkeys(("optim", "solver"), "optimizer"),
    **dict.fromkeys(("scheduler", "lr_scheduler"), "schedule"),
    **dict.fromkeys(("output_dir", "save_dir", "run_dir", "model_dir"), "run"),
    **dict.fromkeys(("smoothing", "label_smooth"), "label_smoothing"),
}


class Checker:
    """Converts values to the types of their options and collects what is wrong with them.

    Args:
        slots: all slots there are.
        choices: the component in each of them.
        lists: the components that settings list.
        origin: the file that the values are from; empty for the command line.
    """

    def __init__(self, slots: Slots, choices: Mapping[str, str], lists: Lists, origin: str = "") -> None:
        self.slots, self.choices, self.lists = slots, choices, lists
        self.schema = slots.schema(choices, lists)
        self.prefix = f"{origin}: " if origin else ""
        self.problems: list[UserError] = []

    def block(self, values: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
        """The values of a block as their options hold them, without those that are wrong."""
        checked: dict[str, Any] = {}
        for name, value in values.items():
            here = (*path, str(name))
            try:
                option = self.lookup(here)
                if isinstance(option, Option):
                    checked[str(name)] = self.value(here, option, value)
                elif isinstance(value, Mapping | None):
                    checked[str(name)] = self.block(value or {}, here)
                else:
                    raise self.not_a_block("/".join(here), value)
            except UserError as error:
                self.problems.append(error)
        return checked

    def override(self, override: Override) -> dict[str, Any]:
        """The value of an override as a block of settings, empty where it is wrong."""
        key, value = override.key, override.value
        slot = key.replace(".", "/").removesuffix("/name")
        try:
            if override.is_hydra:
                remedy = "add --multirun, or leave it out"
                raise ConfigError(
                    "E-setting",
                    shorten_value(override.text),
                    "settings of Hydra are for a sweep of several runs",
                    remedy,
                )
            if slot in self.choices and "/" in key.replace(".", "/"):
                remedy = f"write {slot}={value}"
                raise ConfigError("E-syntax", shorten_value(override.text), "a component is chosen by its slot", remedy)
            if "/" in key:
                remedy = f"write {slot.replace('/', '.')}={value}"
                raise ConfigError("E-syntax", shorten_value(override.text), "an option is written with dots", remedy)
            option = self.lookup(tuple(key.split(".")))
            annotation = option.annotation if isinstance(option, Option) else None
            if is_sweep(override) and not is_text(annotation):
                raise sweep_problem(override, annotation)
            block = override.parse(annotation)
        except UserError as error:
            self.problems.append(error)
            return {}
        for name in reversed(key.split(".")):
            block = {name: block}
        return self.block(block)

    def value(self, path: tuple[str, ...], option: Option, value: Any) -> Any:
        """The value as its option holds it; raises what is wrong with it."""
        key = ".".join(path)
        result = option.convert(f"{self.prefix}{key}={shorten_value(value)}", value)
        if key in LISTED and isinstance(result, list):
            known = entries(LISTED[key])
            self.problems += [self.unknown_listed(key, name) for name in result if name not in known]
        return result

    def unknown_listed(self, key: str, name: str) -> UserError:
        """The error about a name that no component has, in a setting or a block of listed components."""
        return unknown_component(LISTED.get(key, key), name, f"{self.prefix}{key}={shorten_value(name)}")

    def lookup(self, path: tuple[str, ...]) -> Option | Schema:
        """The option or block at a path; raises what is wrong with a path that does not exist."""
        level: Option | Schema = self.schema
        for depth, name in enumerate(path):
            if isinstance(level, Option) and (items := mapping_type(level.annotation)):
                level = Option(items, MISSING, level.doc)
            elif isinstance(level, Option):
                problem = f"{'.'.join(path[:depth])} is one value and has no part {name!r}"
                raise ConfigError("E-setting", self.prefix + ".".join(path), problem)
            elif name not in level:
                raise self.unknown(path[: depth + 1], level)
            else:
                level = level[name]
        return level

    def unknown(self, path: tuple[str, ...], level: Schema) -> UserError:
        """The error about a setting that does not exist."""
        key, slot, name = ".".join(path), "/".join(path), path[-1]
        subject = self.prefix + key
        if slot in self.slots.kinds:
            return self.unused(slot)
        if path[0] in SETTING_OF and len(path) == 2:
            return self.unlisted(*path)
        if len(path) > 1:
            parent = ("." if path[0] in SETTING_OF else "/").join(path[:-1])
            owner = f"{parent}={self.choices[parent]}" if parent in self.choices and parent != TRAINER else parent
            names = set(level) - {"name"}
            alias = ALIASES.get(name.lower(), "")
            remedy = f"did you mean {parent}.{alias}?".replace("/", ".") if alias in names else suggestion(name, names)
            return ConfigError("E-option", subject, f"{owner} has no such option", remedy)
        alias = ALIASES.get(name.lower(), name)
        keys = dict.fromkeys((alias, closest(name, self.schema)))
        near = self.places(alias) or [key for key in keys if key in self.schema]
        remedy = f"did you mean {' or '.join(near)}?" if near else suggestion(name, self.schema)
        return ConfigError("E-setting", subject, "there is no such setting", remedy)

    def places(self, name: str, schema: Schema | None = None, prefix: str = "") -> list[str]:
        """The keys of all options of that name inside of blocks."""
        keys = []
        for owner, block in (self.schema if schema is None else schema).items():
            if isinstance(block, Mapping):
                keys += [f"{prefix}{owner}.{name}"] if name in block else []
                keys += self.places(name, block, f"{prefix}{owner}.")
        return keys

    def unused(self, slot: str) -> UserError:
        """The error about a slot that no component uses."""
        user = slot.rpartition("/")[0] or "head"
        problem = f"nothing uses a {self.slots.kinds[slot]} here ({user}={self.choices[user]})"
        return ConfigError("E-setting", self.prefix + slot, problem, f"leave {slot} out, or choose another {user}")

    def unlisted(self, kind: str, name: str) -> UserError:
        """The error about options of a component that no setting lists."""
        if name not in entries(kind):
            return self.unknown_listed(kind, name)
        setting, names = SETTING_OF[kind], list(self.schema[kind])
        problem = f"{name} is not in {setting}={format_value(names)}"
        remedy = f"add it, as in {setting}={format_value([*names, name])}, or leave its options out"
        return ConfigError("E-setting", f"{self.prefix}{kind}.{name}", problem, remedy)

    def not_a_block(self, slot: str, value: Any) -> UserError:
        """The error about one value in the place of a block of options."""
        key = slot.replace("/", ".")
        subject = f"{self.prefix}{key}={shorten_value(value)}"
        if key in SETTING_OF:
            problem = f"{key} holds the options of {SETTING_OF[key]}, as in {key}.NAME.OPTION=VALUE"
            return ConfigError("E-type", subject, problem, f"list them by {SETTING_OF[key]}=[NAME]")
        if slot in self.choices and isinstance(value, str):
            remedy = f"write `{slot}={value}`, in a recipe `- override {slot}: {value}` in its defaults list"
            return ConfigError("E-syntax", subject, "a component is chosen by its slot", remedy)
        remedy = f"set them one by one, as in {key}.NAME=VALUE"
        return ConfigError("E-type", subject, f"{key} is a block of options", remedy)


def choice_problem(slots: Slots, slot: str, name: Any, origin: str = "") -> UserError | None:
    """What is wrong with a component in a slot, if anything."""
    prefix = f"{origin}: " if origin else ""
    subject = f"{prefix}{slot}={shorten_value(name)}"
    if slot == TRAINER:
        remedy = suggestion(str(name), presets())
        error = ConfigError("E-choice", subject, f"there is no conf/trainer/{name}.yaml", remedy)
        return None if name in presets() else error
    kind = slots.kinds[slot]
    if name in entries(kind):
        return None
    if str(name).lower() in ("null", ""):
        remedy = f"leave it out: what the head does not use is ignored; {suggestion('', entries(kind))}"
        return ConfigError("E-component", subject, "a slot must hold a component", remedy)
    return unknown_component(kind, str(name), subject)


def mapping_type(annotation: Any) -> Any:
    """The type of the values where an option holds a mapping, else None."""
    for part in parts(annotation):
        if typing.get_origin(part) is dict:
            return typing.get_args(part)[1]
    return None
