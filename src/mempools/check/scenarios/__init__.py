"""Scenarios of the model checker: small programs over the shipped core, explored exhaustively (stage.py has their stage)."""

import importlib
import pkgutil


def load() -> None:
    """Imports the modules of this folder, each of which registers its scenarios."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")
