"""From the command line's options to a function that is ready to be invoked."""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Mapping
from typing import BinaryIO

from local_emulator.errors import UsageError
from local_emulator.function import Function
from local_emulator.models import absolute_location, models_variable
from local_emulator.records import FunctionConfiguration
from local_emulator.sandbox.console import Console, terminal
from local_emulator.sandbox.environment import Machine
from local_emulator.sandbox.sandbox import Sandbox
from local_emulator.template.functions import load_function


def configure(options: argparse.Namespace, shell: Mapping[str, str]) -> FunctionConfiguration:
    """The function that ``options`` choose, with its environment.

    A variable takes its value from ``--env``, else ``--models`` and ``--model-store``, else the shell (where the template declares it), else
    the template: SAM's order. ``GLUON_CACHE_DIR`` is always there.

    Raises:
        UsageError: An option, or the template it names, cannot be used.
    """
    overrides = _pairs(options.parameter_overrides, "--parameter-overrides")
    function = load_function(options.template, overrides=overrides, name=options.function)
    declared = {"GLUON_CACHE_DIR": own_cache_folder(), **function.environment}
    from_shell = {name: shell[name] for name in declared if name in shell}
    environment = {**declared, **from_shell, **_models(options), **_pairs(options.env, "--env")}
    return function._replace(environment=environment)


def prepare(
    configuration: FunctionConfiguration,
    *,
    template: str,
    shell: Mapping[str, str],
    sandboxes: int = 1,
    log: BinaryIO | None = None,
) -> Function:
    """The function with its sandboxes, not started yet; its log goes to ``log``, or to stderr."""
    stream, machine = log or terminal(), Machine(library_folders(template), shell)
    return Function(configuration, *(Sandbox(configuration, Console(stream), machine) for _ in range(sandboxes)))


def own_cache_folder() -> str:
    """A cache of this user's own: each of Lambda's sandboxes has a ``/tmp`` for itself, here all users share one."""
    return os.path.join(tempfile.gettempdir(), f"gluon-lambda-{os.getuid()}")


def library_folders(template: str) -> tuple[str, ...]:
    """What stands for ``/opt/lib``: ``build/lib`` beside the template, where ``make setup`` has made it."""
    folder = os.path.join(os.path.dirname(os.path.abspath(template)), "build", "lib")
    return (folder,) if os.path.isdir(folder) else ()


def _models(options: argparse.Namespace) -> dict[str, str]:
    variables = {}
    if options.models:
        variables["GLUON_MODELS"] = models_variable(options.models)
    if options.model_store:
        variables["GLUON_MODEL_STORE"] = absolute_location(options.model_store)
    return variables


def _pairs(arguments: list[str], option: str) -> dict[str, str]:
    pairs = [argument.partition("=") for argument in arguments]
    for name, equals, _ in pairs:
        if not (name and equals):
            raise UsageError(f"{option} takes NAME=VALUE pairs, not {name!r}")
    return {name: value for name, _, value in pairs}
