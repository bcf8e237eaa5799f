#!/usr/bin/env bash
# check_bench_host.sh SOURCE_DIR BUILD_DIR: what bench-host packs measures from its folder, away from what built it.
set -euo pipefail
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

"$1/scripts/bench-host" --pack "$out/packed" --build-dir "$2" --no-build
cd "$out"
packed/bench-host --quick --busy --out results/host.tsv >log 2>&1 || { tail -n 20 log; echo "FAILED: bench-host"; exit 1; }
python3 - <<'PYTHON'
lines = open("results/host.tsv").read().splitlines()
fields = dict(line[2:].split(": ", 1) for line in lines if line.startswith("#"))
columns, *rows = [line.split("\t") for line in lines if not line.startswith("#")]
assert all(len(row) == len(columns) for row in rows), rows
names = {row[1].split(": ")[0] for row in rows}
assert {"memory_lookup", "disk_hit/200_KB", "simple_kernel", "usual_kernel", "largest_kernel"} <= names, names
assert all(float(row[2]) > 0 for row in rows), rows
assert {row[0] for row in rows} == {"cache", "compile", "kernel", "first_operator", "operator"}, rows
assert len(fields["commit"].split()[0]) == 40, fields
PYTHON
[ -z "$(ls -d packed/run.* 2>/dev/null)" ] || { echo "FAILED: it left its working folder"; exit 1; }
code=0
packed/bench-host --pack elsewhere 2>/dev/null || code=$?
[ $code -eq 2 ] || { echo "FAILED: a packed folder that is to pack: exit code $code, not 2"; exit 1; }
echo "measured from a packed folder"
