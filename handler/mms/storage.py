"""``mms.storage`` (MMS 0.4: mms/storage.py)."""

from __future__ import annotations

from typing import Any


class KVStorage(dict[str, Any]):
    """A dict with a name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name
