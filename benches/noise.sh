#!/bin/sh
# How grouping degrades as noise doubles: the same campaigns of a site of 200 hosts over three days, in more and more
# background. Prints a line of JSON for each number of alerts; equal everywhere.
#
# Usage: benches/noise.sh [SEED...]        (quell on the PATH, or QUELL=target/release/quell)
set -eu
quell=${QUELL:-quell}
plan=$(dirname "$0")/../dataflows/pipeline.yml
[ $# -gt 0 ] || set -- 21
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for seed in "$@"; do
    for alerts in 25000 50000 100000 200000 400000; do
        at=$work/$seed-$alerts
        "$quell" generate --alerts "$alerts" --campaigns 20 --days 3 --hosts 200 --users 300 --seed "$seed" \
            --out "$at" >/dev/null 2>&1
        "$quell" replay --flow "$plan" --input "$at/alerts.jsonl" --archive "$at/archive" >/dev/null 2>&1
        printf '{"seed": %s, "alerts": %s, "grouping": %s}\n' "$seed" "$alerts" \
            "$("$quell" evaluate incidents --archive "$at/archive" --truth "$at/truth.jsonl" --output json)"
    done
done
