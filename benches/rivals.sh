#!/bin/bash
# rivals.sh: Quell beside other engines on one machine, in one run, on W5 of the rivals' scripts: JSON lines in, a sliding
# count and a sequence (or, with --work w3, what is connected), findings out. Each round runs every engine once, in turn;
# medians of all rounds are told.
#
#   benches/rivals.sh [--n 200000] [--rounds 5] [--only quell,dbsp,duckdb] [--work w3] [--json FILE]
#   benches/rivals.sh --latency 5000      # how soon Quell says a finding
#
# Needs a folder with the rivals' scripts (PEERS, default ../shared/peers), a Python with numpy, psutil, pyarrow and those of the
# rivals that should run (PY, default python3), and, where they are wanted, dbsp's binary (DBSP) and rsigma's (RSIGMA).
# An engine that is not there is told and left out.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export PEERS=${PEERS:-$(readlink -f ../shared/peers)} QUELL=${QUELL:-${CARGO_TARGET_DIR:-target}/release/quell}
[ -d "$PEERS" ] || { echo "rivals.sh: there is no $PEERS; set PEERS to the folder of the rivals' scripts" >&2; exit 1; }
[ -n "${NO_BUILD:-}" ] || cargo build --release --bin quell
exec "${PY:-python3}" benches/rivals.py "$@"
