#!/usr/bin/env bash
# check_pack.sh SOURCE_DIR BUILD_DIR: the packed folder needs a machine with nothing of what built it, is small, and on
# a machine without a GPU fails loudly instead of passing quietly.
set -euo pipefail
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
fail() { echo "FAILED: $*"; exit 1; }

"$1/scripts/pack-gpu-tests" "$out/packed" --build-dir "$2" --no-build
for program in gpu_tests mhcjit; do
  needed=$(readelf -d "$out/packed/$program" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p')
  [ -n "$needed" ] || fail "readelf shows nothing of $program"
  if grep -E 'libLLVM|libfmt|libgtest|libboost|libcuda|libnvrtc|libstdc\+\+' <<<"$needed"; then fail "$program needs the above"; fi
done
bytes=$(du -sb "$out/packed" | cut -f1)
[ "$bytes" -lt $((40 * 1024 * 1024)) ] || fail "$bytes bytes"

code=0
# With no device visible, this machine has no GPU even if it has one.
text=$(CUDA_VISIBLE_DEVICES='' "$out/packed/run-gpu-tests" --quick --results "$out/results" 2>&1) || code=$?
[ $code -eq 3 ] || fail "run-gpu-tests without a GPU: exit code $code, not 3: $text"
grep -q 'NOTHING WAS RUN' <<<"$text" || fail "run-gpu-tests without a GPU says: $text"
[ ! -e "$out/results" ] || fail "run-gpu-tests without a GPU wrote results"
code=0
text=$(CUDA_VISIBLE_DEVICES='' "$out/packed/mhcjit" bench --op pre_forward 2>&1) || code=$?
[ $code -eq 3 ] || fail "mhcjit bench without a GPU: exit code $code, not 3: $text"
echo "packed $bytes bytes"
