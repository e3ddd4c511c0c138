#!/bin/bash
# early.sh: how soon a live run decides. Records are posted over HTTP at a steady rate; told is the time from the moment at which
# a record's batch begins to be sent to the moment at which the decision that it causes is read (`quell run --decisions -`): it
# is durable by then. The disk's own fsync is timed in the same run, before and during it.
#
#   benches/early.sh [--rate 5000] [--seconds 25] [--share 0.01] [--act early|settled] [--orders] [--work DIR]
#
# --share: of the records, those that are an attack on a host of their own. --orders: an executor over HTTP besides, and the time
# until it is given the order. --work: where the archive lies, and so which disk; else a temporary folder. QUELL, PY: the
# binary and the Python (3.9, nothing beside it) to use.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/.."
export QUELL=${QUELL:-${CARGO_TARGET_DIR:-target}/release/quell}
[ -n "${NO_BUILD:-}" ] || cargo build --release --bin quell
exec "${PY:-python3}" benches/early.py "$@"
