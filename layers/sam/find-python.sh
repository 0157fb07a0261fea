#!/bin/sh
# Prints the Python of the version that is named, like 3.12: on PATH, or of pyenv. Fails where there is none.
is_it() { "$1" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" 2>/dev/null; }
version=$1
for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}"/versions/"$version".*/bin/python python3; do
	if is_it "$python"; then
		command -v "$python"
		exit 0
	fi
done
exit 1
