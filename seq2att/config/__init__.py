"""Configuration: a recipe and overrides become one plain, checked dictionary.

`compose` is all that the rest of the program needs: one function for the command line and for Python.
"""

from seq2att.config.composing import compose, named_plugins
from seq2att.config.options import ConfigError, DataOptions, Settings, TrainerOptions, options_of
from seq2att.config.origins import describe_settings
from seq2att.config.recipe import folder, recipes, saved_folders
from seq2att.config.sweeping import sweep

__all__ = [
    "ConfigError",
    "DataOptions",
    "Settings",
    "TrainerOptions",
    "compose",
    "describe_settings",
    "folder",
    "named_plugins",
    "options_of",
    "recipes",
    "saved_folders",
    "sweep",
]
