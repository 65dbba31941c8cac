#!/bin/sh
# Makes python.wasm, or the file that is given, of app.py: CPython in a component, 20 MB, in some 15 seconds.
# It needs `pip install 'beamlike[wasm-python]'`, for the python that is the first in the path or in $PYTHON; nothing is fetched.
set -eu
out=$(realpath "${1:-python.wasm}")
cd "$(dirname "$0")"
python=${PYTHON:-python3}
msgpack=$("$python" -c 'import msgpack, os; print(os.path.dirname(os.path.dirname(msgpack.__file__)))')
exec "$python" -c 'import componentize_py, sys; sys.exit(componentize_py.script())' --quiet --wit-path cell.wit --world cell \
    componentize --stub-wasi --python-path . --python-path "$msgpack" app --output "$out"
