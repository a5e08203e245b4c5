"""Plugins: components from outside, by entry point, file, folder or module."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from seq2att.registry.component import COMPONENTS, RegistryError

ENTRY_POINTS = "seq2att.plugins"


def load(plugins: Iterable[str] = ()) -> None:
    """Fill the registry: our own components, installed plugins (entry points), then the named files and packages."""
    for module in COMPONENTS:
        importlib.import_module(f"seq2att.{module}")
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except ImportError as error:
            owner = point.dist.name if point.dist else point.name
            raise RegistryError(
                f"the installed plugin {owner!r} ({point.value}) cannot be imported: {error}; "
                f"install what it needs, or `pip uninstall {owner}`"
            ) from error
    for plugin in plugins:
        load_plugin(plugin)


def shipped(plugin: str) -> Path | None:
    """The file of a plugin that comes with our own recipes, by its bare name such as `digits.py`; None: none does."""
    package = Path(__file__).resolve().parent.parent
    folders = [folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir()]
    file = folders[0] / plugin if folders and plugin == Path(plugin).name and plugin.endswith(".py") else None
    return file if file is not None and file.is_file() else None


def load_shipped(plugins: Iterable[str]) -> None:
    """Import those of the named plugins that come with our own recipes: they are as safe as the rest of seq2att."""
    for file in map(shipped, plugins):
        if file is not None:
            import_file(file)


def load_plugin(plugin: str) -> None:
    """Import one plugin: a file.py, the folder of a package or of its project, or the name of a module."""
    try:
        import_plugin(plugin)
    except SyntaxError as error:
        raise RegistryError(f"plugins: {error.filename}:{error.lineno}: {error.msg}; mend the line") from error


def import_plugin(plugin: str) -> None:
    """Import it by what its name looks like."""
    path = Path(plugin)
    if plugin.endswith(".py"):
        file = path if path.is_file() else shipped(plugin)
        if file is None:
            raise RegistryError(
                f"plugins: there is no file {plugin!r}; name a file.py, a folder or an installed module"
            )
        import_file(file)
    elif path.is_dir():
        import_folder(path)
    else:
        try:
            importlib.import_module(plugin)
        except ModuleNotFoundError as error:
            if error.name != plugin.partition(".")[0]:
                raise
            raise RegistryError(
                f"plugins: {plugin!r} is neither a file, a folder nor an installed module; "
                f"check the spelling, or install it with pip"
            ) from error


def import_file(path: Path) -> None:
    """Import a file once, under a name made of its path, so that two files of one name do not collide."""
    name = f"seq2att_plugin_{path.resolve().with_suffix('').as_posix().replace('/', '_').replace('.', '_')}"
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
    project = path / "pyproject.toml"
    if (path / "__init__.py").is_file():
        root, modules = path.resolve().parent, [path.resolve().name]
    elif project.is_file():
        points = tomllib.loads(project.read_text("utf-8")).get("project", {}).get("entry-points", {})
        root = path.resolve() / "src" if (path / "src").is_dir() else path.resolve()
        modules = [str(value).partition(":")[0] for value in points.get(ENTRY_POINTS, {}).values()]
        if not modules:
            raise RegistryError(f'{project}: no [project.entry-points."{ENTRY_POINTS}"]; name the module there')
    else:
        raise RegistryError(f"plugins: {path} has neither __init__.py nor pyproject.toml; name a package or a file.py")
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    for module in modules:
        importlib.import_module(module)
