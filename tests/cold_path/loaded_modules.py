"""What INIT and a first prediction load, seen in a fresh process: it does both, and lists its modules.

python tests/cold_path/loaded_modules.py small.model event.json modules.json
"""

from __future__ import annotations

import json
import os
import sys


class Context:
    """Lambda's context object, as far as it is used."""

    aws_request_id = "id"

    def get_remaining_time_in_millis(self) -> int:
        """Half a minute, always."""
        return 30_000


def main(archive: str, event: str, result: str) -> None:
    """Run INIT and one event; write which modules each of the two loaded."""
    # What awslambdaric imports, and what this script needs, is no cost of the handler's.
    import awslambdaric.bootstrap  # noqa: F401

    with open(event) as file:
        asked = json.load(file)
    os.environ["GLUON_MODELS"] = f"small={archive}"
    before = set(sys.modules)
    import lambda_function

    init = set(sys.modules)
    answer = lambda_function.lambda_handler(asked, Context())
    assert answer["statusCode"] == 200, answer
    with open(result, "w") as file:
        # A module that is left for its first use stands in sys.modules before.
        left = sorted(name for name, module in sys.modules.items() if type(module).__name__ == "DeferredModule")
        json.dump({"init": sorted(init - before), "prediction": sorted(set(sys.modules) - init), "left": left}, file)


if __name__ == "__main__":
    main(*sys.argv[1:])
