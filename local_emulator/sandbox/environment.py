"""The environment variables of a sandbox: Lambda's own, then the function's, and nothing of this machine that Lambda has not.

AWS: "Defined runtime environment variables". What differs from Lambda is here because this is not Lambda's file system: the interpreter,
``PATH`` and the folders that shared libraries come from.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from local_emulator.records import FunctionConfiguration

REGION = "us-east-1"
ACCOUNT = "123456789012"

# What lets the function reach S3 as its user does; Lambda has its role's credentials in the same variables.
_FROM_SHELL = ("PATH", "HOME", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_CA_BUNDLE")
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")


class Machine(NamedTuple):
    """What of this machine a sandbox gets to see.

    Attributes:
        library_folders: What ``/opt/lib`` would hold; these go before the shell's ``LD_LIBRARY_PATH``.
        shell: The emulator's own environment, of which credentials and the like are passed on.
    """

    library_folders: tuple[str, ...]
    shell: Mapping[str, str]


def function_arn(name: str) -> str:
    """The ARN that the function ``name`` has here."""
    return f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{name}"


def environment_variables(function: FunctionConfiguration, *, runtime_api: str, machine: Machine) -> dict[str, str]:
    """Everything that a sandbox's process sees in its environment.

    Args:
        function: What the template says; its variables win over Lambda's defaults, never over what Lambda reserves.
        runtime_api: ``host:port`` of the Runtime API.
        machine: What else it gets to see.
    """
    return {
        **dict(_taken_from_shell(machine.shell)),
        **_defaults(machine),
        **function.environment,
        **_reserved(function, runtime_api, machine.shell),
    }


def _taken_from_shell(shell: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, value in shell.items():
        if name in _FROM_SHELL or name in _CREDENTIALS or name.startswith("AWS_ENDPOINT_URL"):
            yield name, value


def _defaults(machine: Machine) -> dict[str, str]:
    inherited = [folder for folder in machine.shell.get("LD_LIBRARY_PATH", "").split(os.pathsep) if folder]
    return {
        "LANG": "en_US.UTF-8",
        "TZ": ":UTC",
        "LD_LIBRARY_PATH": os.pathsep.join([*machine.library_folders, *inherited]),
        "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR",
        "AWS_XRAY_DAEMON_ADDRESS": "169.254.79.129:2000",
    }


def _reserved(function: FunctionConfiguration, runtime_api: str, shell: Mapping[str, str]) -> dict[str, str]:
    region = shell.get("AWS_REGION") or shell.get("AWS_DEFAULT_REGION") or REGION
    return {
        "_HANDLER": function.handler,
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        # The interpreter's version, not the template's: awslambdaric picks its JSON encoding by it.
        "AWS_EXECUTION_ENV": f"AWS_Lambda_python{sys.version_info.major}.{sys.version_info.minor}",
        "AWS_LAMBDA_FUNCTION_NAME": function.name,
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory_mb),
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
        "AWS_LAMBDA_LOG_FORMAT": function.log_format,
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": "local",
        "AWS_LAMBDA_RUNTIME_API": runtime_api,
        "LAMBDA_TASK_ROOT": function.code_folder,
        "LAMBDA_RUNTIME_DIR": "/var/runtime",
    }
