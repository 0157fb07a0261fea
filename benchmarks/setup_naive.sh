#!/bin/sh
# Make the naive handler's environment: Python 3.11, NumPy 1.23.5, stock mxnet (measured against, never shipped).
# Usage: benchmarks/setup_naive.sh [folder, default build/bench/naive]. Does nothing when the environment is current.
set -eu

here=$(dirname "$0")
target=${1:-build/bench/naive}
python=${PYTHON311:-python3.11}
stamp=$target/.made-from

wanted() { cat "$here/requirements-naive.txt" "$0"; }

if [ -f "$stamp" ] && wanted | cmp -s - "$stamp" && "$target/bin/python" -c '' 2>/dev/null; then
  exit 0
fi
if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
  echo "setup_naive.sh: no Python 3.11 as '$python'. The stock mxnet wheel needs NumPy 1.23.5, whose last Python is 3.11." >&2
  echo "Install it, or name it: PYTHON311=/path/to/python3.11 make bench" >&2
  exit 1
fi

echo "setting up the naive handler's environment in $target"
rm -rf "$target"
mkdir -p "$(dirname "$target")"
"$python" -m venv "$target"
"$target/bin/pip" install --quiet --disable-pip-version-check -r "$here/requirements-naive.txt"
"$target/bin/pip" install --quiet --disable-pip-version-check --no-deps mxnet==1.9.1
# A deployment package holds no setuptools, and where there is one, mxnet's import loads it for 90 ms.
"$target/bin/pip" uninstall --quiet --yes setuptools
# As a built package ships it: nothing is left to compile at a cold start.
"$target/bin/python" -m compileall -q "$target/lib" >/dev/null || true
wanted >"$stamp"
