#!/bin/sh
# The image's first stage: what becomes /opt and /var/task, for Python VERSION, below OUT. Runs anywhere, from the repository's root, and needs
# nothing but that Python and its pip.
set -eu
version=$1 out=$2
"python$version" -m layers.build --python "$version" --out "$out/opt"
"python$version" -m layers.function --python "$version" --out "$out/task"
