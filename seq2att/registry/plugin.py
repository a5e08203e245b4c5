"""Plugins: components from outside, by entry point, file, folder or module."""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import importlib.util
import re
import sys
import tomllib
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from seq2att.errors import UserError
from seq2att.registry.component import COMPONENTS, _broken, entries, identity, kinds
from seq2att.registry.option import RegistryError

ENTRY_POINTS = "seq2att.plugins"


def load(plugins: Iterable[str] = ()) -> None:
    """Fill the registry: our own components, installed plugins (entry points), then the named files and packages.

    An installed plugin that cannot be imported is noted, and named in the error about an unknown component.
    """
    for module in COMPONENTS:
        importlib.import_module(f"seq2att.{module}")
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        owner = point.dist.name if point.dist else point.name
        try:
            point.load()
            _broken.pop(owner, None)
        except (Exception, SystemExit) as error:
            _broken[owner] = f"{point.value}: {describe_error(error)}"
    for plugin in plugins:
        load_plugin(plugin)


def broken_plugins() -> list[str]:
    """One line for every installed plugin that could not be imported."""
    return [
        f"the installed plugin {owner} cannot be imported ({why}); install what it needs, or `pip uninstall {owner}`"
        for owner, why in _broken.items()
    ]


def describe_error(error: BaseException) -> str:
    """An error in one line."""
    return " ".join(f"{type(error).__name__}: {error}".split())


def shipped(plugin: str) -> Path | None:
    """The file of a plugin that comes with our own recipes, by its bare name such as `digits.py`, else None."""
    if plugin != Path(plugin).name or not plugin.endswith(".py"):
        return None
    package = Path(__file__).resolve().parent.parent
    files = [folder / "recipes" / plugin for folder in (package, package.parent)]
    return next((file for file in files if file.is_file()), None)


def load_shipped(plugins: Iterable[str]) -> None:
    """Import those of the named plugins that come with our own recipes: they are as safe as the rest of seq2att."""
    for file in filter(None, map(shipped, plugins)):
        import_file(file)


def load_plugin(plugin: str) -> None:
    """Import one plugin: a file.py, the folder of a package or of its project, or the name of a module."""
    path = Path(plugin)
    try:
        if plugin.endswith(".py"):
            file = path if path.is_file() else shipped(plugin)
            if file is None:
                raise RegistryError("E-plugin", f"plugins={plugin}", "there is no such file", "check the path")
            import_file(file)
        elif path.is_dir():
            import_folder(path)
        else:
            importlib.import_module(plugin)
    except UserError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == plugin.partition(".")[0]:
            problem = "there is no such file, folder or module"
            raise RegistryError("E-plugin", f"plugins={plugin}", problem, "check it, or install it with pip") from error
        problem = f"{error_line(error, path)}: {describe_error(error)}"
        raise RegistryError("E-plugin", f"plugins={plugin}", problem, "correct the plugin") from error


def failed_plugin(error: BaseException) -> str:
    """The `file:line` of a component's plugin that an exception comes from, the innermost; empty where it is ours."""
    targets = [entry.target for kind in kinds() for entry in entries(kind).values()]
    files = {identity(target)[0] for target in targets if target.__module__.partition(".")[0] != "seq2att"}
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""


def error_line(error: BaseException, path: Path) -> str:
    """The `file:line` that an error at import comes from, in the plugin's own file or folder where it is there."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).resolve().is_relative_to(path.resolve())]
    frame = (own or frames)[-1]
    return f"{frame.filename}:{frame.lineno}"


def import_file(path: Path) -> None:
    """Import a file once, under a name that no other path has."""
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:16]
    stem = re.sub(r"\W", "_", path.stem)
    name = f"seq2att_plugin_{stem}_{digest}"
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise


def import_folder(path: Path) -> None:
    """Import a package by its folder, or a project's entry points by the folder of its pyproject.toml."""
    project, folder = path / "pyproject.toml", path.resolve()
    if (path / "__init__.py").is_file():
        root, modules = folder.parent, [folder.name]
    elif project.is_file():
        points = tomllib.loads(project.read_text("utf-8")).get("project", {}).get("entry-points", {})
        root = folder / "src" if (folder / "src").is_dir() else folder
        modules = [str(value).partition(":")[0] for value in points.get(ENTRY_POINTS, {}).values()]
        if not modules:
            problem = f'there is no [project.entry-points."{ENTRY_POINTS}"]'
            raise RegistryError("E-plugin", str(project), problem, "name the module there")
    else:
        problem = "the folder has neither __init__.py nor pyproject.toml"
        raise RegistryError("E-plugin", f"plugins={path}", problem, "give a package's folder, or a file.py")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    for name in modules:
        check_origin(importlib.import_module(name), root, path)


def check_origin(module: ModuleType, root: Path, path: Path) -> None:
    """Raise `E-plugin` where another module of the same name was imported before, unless it is the installed plugin."""
    if module.__name__ in [point.module for point in importlib.metadata.entry_points(group=ENTRY_POINTS)]:
        return
    places = [Path(place).resolve() for place in (module.__file__, *getattr(module, "__path__", [])) if place]
    if places and not any(place.is_relative_to(root) for place in places):
        problem = f"another module {module.__name__!r} was imported before, from {places[0]}"
        raise RegistryError("E-plugin", f"plugins={path}", problem, "rename one of them")
