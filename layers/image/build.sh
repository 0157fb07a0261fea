#!/bin/sh
# The image's first stage: what becomes /opt and /var/task, for Python VERSION, below OUT. Runs anywhere, from the repository's root.
set -eu
version=$1 out=$2
mkdir -p "$out"
# What the build itself imports, as it is pinned for this machine's environments.
grep '^packaging==' requirements-dev.txt >"$out/requirements.txt"
"python$version" -m pip install --quiet --disable-pip-version-check --no-deps --target "$out/packaging" --upgrade --requirement "$out/requirements.txt"
export PYTHONPATH="$out/packaging"
"python$version" -m layers.build --python "$version" --out "$out/opt"
"python$version" -m layers.function --python "$version" --out "$out/task"
