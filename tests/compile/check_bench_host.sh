#!/usr/bin/env bash
# check_bench_host.sh SOURCE_DIR BUILD_DIR: what bench-host packs measures from its folder, away from what built it.
set -euo pipefail
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

"$1/scripts/bench-host" --pack "$out/packed" --build-dir "$2" --no-build
cd "$out"
packed/bench-host --quick --busy --out results/host.json >log 2>&1 || { tail -n 20 log; echo "FAILED: bench-host"; exit 1; }
python3 - <<'PYTHON'
import json

result = json.load(open("results/host.json"))
names = {row["name"] for row in result["cache"]}
assert {"memory_lookup", "disk_hit/200_KB"} <= names, names
assert all(result["compile"][name]["ms"] > 0 for name in ("simple_kernel", "usual_kernel", "largest_kernel"))
assert len(result["commit"].split()[0]) == 40, result["commit"]
PYTHON
[ -z "$(ls -d packed/run.* 2>/dev/null)" ] || { echo "FAILED: it left its working folder"; exit 1; }
code=0
packed/bench-host --pack elsewhere 2>/dev/null || code=$?
[ $code -eq 2 ] || { echo "FAILED: a packed folder that is to pack: exit code $code, not 2"; exit 1; }
echo "measured from a packed folder"
