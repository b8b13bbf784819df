# Sourced by ops/demo and ops/test. `ready EXTRA` sees to a .venv in which that extra of
# pyproject.toml is installed at the versions of ops/constraints.txt; it is quick when nothing changed.

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P)
venv=$root/.venv

say() {
    echo "${0##*/}: $*" >&2
}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

# A virtual environment knows its own path, so one that was moved, or left half made, is made again.
is_whole() {
    is_new_enough "$venv/bin/python" && grep -qF "$venv/bin/python" "$venv/bin/pip" 2>/dev/null
}

make_venv() {
    for python in python3 python3.14 python3.13 python3.12 python3.11; do
        is_new_enough "$python" || continue
        say "making .venv with $("$python" --version)"
        if "$python" -m venv --clear "$venv" >/dev/null 2>&1; then
            return
        fi
        say "$python cannot make a virtual environment; install its venv module (Debian: apt install python3-venv)"
        exit 1
    done
    found=$(python3 --version 2>/dev/null) || found='no python3'
    say "Python 3.11 or newer is needed and $found is here; install one (https://www.python.org/downloads/)"
    exit 1
}

wanted() {
    cat "$root/pyproject.toml" "$root/ops/constraints.txt" | cksum
}

ready() {
    is_whole || make_venv
    if [ "$(cat "$venv/installed-$1" 2>/dev/null)" = "$(wanted)" ]; then
        return
    fi
    say "installing what kfsession needs into .venv, a minute or two the first time"
    "$venv/bin/python" -m pip install -qq --disable-pip-version-check \
        --constraint "$root/ops/constraints.txt" --editable "$root[$1]" || {
        say "installing failed, see above; run it again when that is mended"
        exit 1
    }
    wanted >"$venv/installed-$1"
    if [ "$1" = dev ]; then # which holds everything of local
        wanted >"$venv/installed-local"
    fi
}
