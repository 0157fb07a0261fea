"""``python -m archives``: make, show and check model archives."""

import sys
from pathlib import Path

# The tool reads archives with the handler's own code, which is no installed package.
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "handler"))

from archives.cli import main
from archives.native_libraries import load_native_libraries

load_native_libraries()
sys.exit(main(sys.argv[1:]))
