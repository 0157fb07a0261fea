"""Every error that the emulator raises on purpose, in one tree. This module imports nothing.

EmulatorError                 printed as one line; the command ends with ``exit_code``
├── UsageError                an argument or a file it names
│   ├── TemplateError         template.yaml: names the logical id or key, and what is supported
│   │   └── ResourceNotHere   a value that only a deployed stack has
│   ├── PortTaken             another program listens where the emulator should
│   ├── QueueRefused          the queue is not there, or not for us
│   └── QueueUnavailable      nobody answers for the queue, or SQS fails; may pass by itself
├── InitFailed                the function does not start
└── SandboxClosed             an invocation came while the emulator was ending
"""


class EmulatorError(Exception):
    """Base of every error that this package raises on purpose. Its text is written for the person at the terminal."""

    #: The command's exit code for this error.
    exit_code = 1


class UsageError(EmulatorError):
    """Raised when an argument, or a file that an argument names, cannot be used."""

    exit_code = 2


class TemplateError(UsageError):
    """Raised when the template is missing, malformed, or uses something that is not emulated."""


class ResourceNotHere(TemplateError):
    """Raised for a value that names one of the stack's resources, a bucket or a queue, where none is."""


class PortTaken(UsageError):
    """Raised when the address to listen on is not free."""


class QueueRefused(UsageError):
    """Raised when SQS says that there is no such queue, or that it is not for us."""


class QueueUnavailable(UsageError):
    """Raised when SQS does not answer, or fails; it may pass."""


class InitFailed(EmulatorError):
    """Raised when the function does not start, where nothing can be done without it."""


class SandboxClosed(EmulatorError):
    """Raised when an invocation reaches a sandbox that is being shut down."""
