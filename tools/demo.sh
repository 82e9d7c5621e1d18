#!/usr/bin/env bash
# The main job on a real directory: this Python's own library goes into shared memory once, other processes read it back.
set -euo pipefail
work=$(mktemp -d)
name=demo-$$
trap 'rm -rf "$work"; mempools rm "$name" >/dev/null 2>&1 || true' EXIT

library=$(python -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
mkdir "$work/library"
tar -C "$library" --exclude=site-packages --exclude=dist-packages --exclude=__pycache__ -cf - . | tar -C "$work/library" -xf -

show() {
    printf '\n$ %s\n' "$*"
    "$@"
}
show mempools pack "$work/library" "$name"
show mempools stat "$name"
show mempools verify "$work/library" "$name"
printf '\n$ mempools cat %s os.py | head -n 3\n' "$name"
mempools cat "$name" os.py >"$work/os.py"
head -n 3 "$work/os.py"
cmp "$work/os.py" "$library/os.py"
show mempools rm "$name"
