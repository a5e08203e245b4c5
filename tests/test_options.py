"""Every option of every component and every setting has its line of documentation."""

import pytest

from seq2att import registry
from seq2att.config import DataOptions, Settings, TrainerOptions, options_of

registry.load()
ENTRIES = [entry for kind in registry.kinds() for entry in registry.entries(kind).values() if entry.options]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}={entry.name}")
def test_every_option_has_a_line(entry: registry.Entry) -> None:
    missing = [name for name, option in entry.options.items() if not option.doc]
    assert not missing, f"{entry.location}: add a line under `Args:` for {', '.join(missing)}"


@pytest.mark.parametrize("settings", [Settings, DataOptions, TrainerOptions])
def test_every_setting_has_a_line(settings: type) -> None:
    assert all(option.doc for option in options_of(settings).values())


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}={entry.name}")
def test_no_line_is_about_an_option_that_is_gone(entry: registry.Entry) -> None:
    before_the_star = {*registry.kinds()[entry.kind].context, *entry.factories}
    lines = registry.parse_args(entry.target.__doc__)
    assert not set(lines) - set(entry.options) - before_the_star, entry.location
