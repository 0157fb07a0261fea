#!/bin/sh
# The image's first stage: what becomes /opt and /var/task, for Python VERSION, below OUT. Runs anywhere, from the repository's root, without git or a compiler.
set -eu
version=$1 out=$2
# What the build itself imports, as it is pinned for this project's own environments.
"python$version" -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$out/tools" --constraint requirements-dev.txt packaging
export PYTHONPATH="$out/tools"
"python$version" -m layers.build --python "$version" --out "$out/opt"
"python$version" -m layers.function --python "$version" --out "$out/task"
