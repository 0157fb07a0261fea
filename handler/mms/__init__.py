"""What service code written for MXNet Model Server imports, so that it runs unmodified.

Re-implemented from MMS's contract (0.4.0 and 1.1.11), not a copy: no server, no threads, no psutil. It imports nothing of
``gluon_lambda``, and ``import mms`` imports nothing at all. It lies in the function's own folder, which is first on Lambda's import
path, so it is found before a genuine ``mms`` that some layer may have brought along.
"""

from mms.version import __version__

__all__ = ["__version__"]
