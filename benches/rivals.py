"""Runs Quell and its rivals in turn, and tells medians: see rivals.sh."""

import argparse
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median

PEERS, PYTHON, QUELL = Path(os.environ["PEERS"]), sys.executable, Path(os.environ["QUELL"]).resolve()
sys.path.insert(0, str(PEERS))
RULES = {
    "w1": "type: event_count, rules: any, group-by: [rule_id, src_ip], timespan: 5m, condition: {gte: 10}",
    "w2": "type: temporal_ordered, rules: [R0012, R0025, R0040], group-by: [host], timespan: 15m",
    "w3": "type: connected, rules: any, where: {severity: [high, critical]}, group-by: [host, user, hash], timespan: 1h, condition: {gte: 3}",
}

SPAN_MS = {"w1": 300_000, "w2": 900_000}


def quell_plan(folder: Path, works: str) -> Path:
    """The plan of the workload: findings alone, from the shipped mapping of such alerts."""
    shutil.copytree("dataflows/policies", folder / "policies")
    shutil.copytree("dataflows/playbooks", folder / "playbooks")
    (folder / "mappings").mkdir()
    shutil.copy("dataflows/mappings/generated.yml", folder / "mappings")
    (folder / "correlations").mkdir()
    rules = "---\n".join(f"title: {work}\ncorrelation: {{{RULES[work]}}}\n" for work in works.split(","))
    (folder / "correlations/w.yml").write_text(rules)
    (folder / "pipeline.yml").write_text("name: rivals\nends_at: findings\n")
    return folder / "pipeline.yml"


def quell_findings(archive: Path, out: Path) -> None:
    """The archive's findings as the rivals write theirs."""
    import pyarrow.parquet as parquet

    sums: Counter = Counter()
    for part in archive.glob("matches/**/*.parquet"):
        for row in parquet.read_table(part, columns=["correlation", "group", "time", "alert_ids", "diff"]).to_pylist():
            sums[row["correlation"], row["group"], int(row["time"].timestamp() * 1000), tuple(row["alert_ids"])] += row["diff"]
    with out.open("w") as lines:
        for (workload, group, at, ids), stands in sums.items():
            if stands:
                key = [group, len(ids)] if workload == "w3" else [*group.split(), at]
                lines.write(json.dumps({"w": workload, "k": key}) + "\n")


def has(*modules: str) -> bool:
    return all(importlib.util.find_spec(module) for module in modules)


def engines(plan: Path, work: Path, works: str):
    """Name, command, environment, and what makes the common lines of what it wrote."""
    archive, out = work / "archive", work / "out"
    replay = f"{QUELL} replay --flow {plan} --input {{i}} --archive {archive} --arrival"
    for batch in (10_000, 2_000, 100):
        yield f"quell {batch}/epoch", f"{replay} --batch {batch}", {}, lambda: quell_findings(archive, out)
    dbsp, rsigma = os.environ.get("DBSP", ""), os.environ.get("RSIGMA", shutil.which("rsigma") or "")
    parquet = [PYTHON, PEERS / "pq2jsonl.py", work / "out.pq", out]
    as_lines = lambda: subprocess.check_call(parquet)  # noqa: E731
    if dbsp:
        for workers in (1, 2):
            yield f"dbsp {workers}", f"{dbsp} {{i}} {out} {works} {workers}", {}, None
    if has("duckdb"):
        for threads in (1, 2):
            yield f"duckdb batch {threads}", f"{PYTHON} duck.py {{i}} {out}.pq {threads} {works}", {}, as_lines
    if has("polars") and works != "w3":
        yield "polars batch 2", f"{PYTHON} pol.py {{i}} {out}.pq w1,w2", {"POLARS_MAX_THREADS": "2"}, as_lines
    if has("orjson"):
        yield "python", f"{PYTHON} plain.py {{i}} {out} {works}", {}, None
    if has("bytewax") and works != "w3":
        yield "bytewax 1", f"{PYTHON} -m bytewax.run bw:flow", {"W": "w1,w2"}, None
    if has("pathway"):
        for threads in ("1", "2"):
            yield f"pathway state {threads}", f"{PYTHON} pw_peer.py {{i}} {out} {works} state", {"PATHWAY_THREADS": threads}, None
    if rsigma and works != "w3":
        detect = f"{rsigma} engine eval -r {PEERS}/rules.yml -e @{{i}} --no-detections --timestamp-field time --suppress 5m"
        more = f"--correlation-event-mode refs --max-correlation-events 1 --output-format ndjson > {out}.rs"
        lines = [PYTHON, PEERS / "rs2jsonl.py", work / "out.rs", out]
        yield "rsigma eval", f"{detect} {more}", {}, lambda: subprocess.check_call(lines)
    if os.environ.get("FLINK") and works != "w3":
        yield "flink 2", f"./flink.sh {{i}} {out} 2 w1,w2", {}, None


def watch(pid: int, peak: list) -> None:
    """Looks at a process's memory until it ends: what the kernel counts begins with this script's own."""
    import psutil

    try:
        process = psutil.Process(pid)
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            peak.append(process.memory_info().rss)
            time.sleep(0.01)
    except psutil.Error:
        pass


def run(command: str, environment: dict, source: Path, work: Path):
    """Seconds, CPU seconds and MiB of one run."""
    for old in work.glob("*"):
        shutil.rmtree(old) if old.is_dir() else old.unlink()
    environment = {**os.environ, **environment, "IN": str(source), "OUT": str(work / "out")}
    with (work / "errors").open("w") as errors:
        start = time.monotonic()
        command = "exec " + command.format(i=source)
        child = subprocess.Popen(command, shell=True, cwd=PEERS, env=environment, stdout=subprocess.DEVNULL, stderr=errors)
        peak: list = []
        watcher = threading.Thread(target=watch, args=(child.pid, peak))
        watcher.start()
        _, status, used = os.wait4(child.pid, 0)
        child.returncode = status
        seconds = time.monotonic() - start
        watcher.join()
    if status:
        sys.exit(f"rivals: {command}\nexit {status}: {(work / 'errors').read_text()[-800:]}")
    return seconds, used.ru_utime + used.ru_stime, max(peak, default=0) / 2**20


def agreement(truth: Path, work: Path) -> str:
    from verify import verify

    out = work / "out"
    if not out.exists():
        out.write_text("".join(part.read_text() for part in sorted(work.glob("out.[ow]*"))))
    if all('"w3"' in line for line in out.read_text().splitlines()):
        sizes = sorted(json.loads(line)["k"][-1] for line in out.open())
        must = sorted(size for _, size in json.loads(truth.read_text())["w3"])
        return f"w3 {len(sizes)} {'= truth in number and sizes' if sizes == must else 'NOT the truth'}"
    said = verify(truth, out)
    equal = lambda name, told: "= truth" if name in told["equals"] else f"P {told['P']} R {told['R']}"  # noqa: E731
    return ", ".join(f"{name} {told['n']} {equal(name, told)}" for name, told in said.items())


def latency(plan: Path, alerts: Path, work: Path, rate: int, seconds: int) -> None:
    """From the writing of the line that completes a finding to the reading of the finding, at so many lines a second."""
    from common import loads, ms

    lines = alerts.read_bytes().splitlines(keepends=True)[: rate * seconds]
    command = [QUELL, "run", "--stdin", "--flow", plan, "--archive", work / "archive", "--findings", "-", "--output", "json"]
    run = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    heard: list = []
    reader = threading.Thread(target=lambda: heard.extend((time.monotonic(), line) for line in run.stdout))
    reader.start()
    time.sleep(2)
    written, step, start = {}, max(1, rate // 1000), time.monotonic()
    for at in range(0, len(lines), step):
        time.sleep(max(0.0, start + at / rate - time.monotonic()))
        now = time.monotonic()
        for line in lines[at : at + step]:
            alert = loads(line)
            when = ms(alert["time"])
            for key in (("w1", f"{alert['rule_id']} {alert['src_ip']}"), ("w2", alert["host"])):
                written.setdefault(key, []).append((when, now))
        run.stdin.write(b"".join(lines[at : at + step]))
        run.stdin.flush()
    time.sleep(1)
    run.stdin.close()
    run.wait()
    reader.join()
    waits: dict = {"w1": [], "w2": []}
    for at, line in heard:
        said = loads(line)
        if said.get("diff", 0) > 0:
            whole, _, part = said["time"].rstrip("Z").partition(".")
            key, when = (said["correlation"], said["group"]), ms(f"{whole}.{part:0<3}Z")
            # A late alert may complete a finding at a time that was written before it: the last line of its window counts.
            of_window = [now for then, now in written[key] if when - SPAN_MS[key[0]] <= then <= when and now <= at]
            waits[key[0]].append((at - max(of_window)) * 1000)
    for name, all_waits in waits.items():
        all_waits.sort()
        p50, p99 = (all_waits[int((len(all_waits) - 1) * share)] for share in (0.5, 0.99))
        print(f"latency {name} at {rate} alerts/s: {len(all_waits)} findings, p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {all_waits[-1]:.2f} ms")


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--n", type=int, default=200_000)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--only", default="")
    options.add_argument("--work", default="w1,w2", help="w1,w2 or w3: what is connected")
    options.add_argument("--json")
    options.add_argument("--latency", type=int, metavar="RATE", help="Quell's detection latency alone, at RATE alerts a second")
    options = options.parse_args()
    data = Path(os.environ.get("PEERS_DATA", "/tmp/peers_data"))
    data.mkdir(exist_ok=True)
    alerts, truth, one = data / f"a{options.n}.jsonl", data / f"o{options.n}.json", data / "one.jsonl"
    if not alerts.exists():
        subprocess.check_call([PYTHON, PEERS / "gen.py", str(options.n), alerts])
    if not truth.exists():
        subprocess.check_call([PYTHON, PEERS / "oracle.py", alerts, truth])
    with alerts.open() as lines:
        one.write_text(lines.readline())
    with tempfile.TemporaryDirectory() as folder:
        plan, work = quell_plan(Path(folder) / "plan", options.work), Path(folder) / "work"
        work.mkdir()
        if options.latency:
            return latency(plan, alerts, work, options.latency, 15)
        wanted = options.only.split(",")
        chosen = [engine for engine in engines(plan, work, options.work) if any(name in engine[0] for name in wanted)]
        starts, runs, agrees = {}, {engine[0]: [] for engine in chosen}, {}
        for name, command, environment, _ in chosen:
            starts[name] = median(run(command, environment, one, work)[0] for _ in range(3))
        for _ in range(options.rounds):
            for name, command, environment, lines in chosen:
                runs[name].append(run(command, environment, alerts, work))
                if name not in agrees:
                    if lines:
                        lines()
                    agrees[name] = agreement(truth, work)
    tell(options, starts, runs, agrees)


def tell(options, starts, runs, agrees) -> None:
    load = os.getloadavg()[0]
    print(f"{options.n} alerts, medians of {options.rounds} rounds, load {load:.1f} on {os.cpu_count()} cores")
    print(f"{'engine':<18} {'alerts/s':>9} {'per CPU-s':>10} {'wall s':>7} {'MiB':>6} {'start s':>8}  {'quell x':>7}  agrees")
    best = None
    for name, all_runs in runs.items():
        wall, cpu, rss = (median(column) for column in zip(*all_runs))
        best = best or wall
        times = f"{wall / best:.1f}"
        print(f"{name:<18} {options.n / wall:>9.0f} {options.n / cpu:>10.0f} {wall:>7.2f} {rss:>6.0f} {starts[name]:>8.2f}  {times:>7}  {agrees[name]}")
        if options.json:
            told = {"engine": name, "n": options.n, "runs": all_runs, "start_s": starts[name], "agrees": agrees[name], "load": load}
            with open(options.json, "a") as lines:
                lines.write(json.dumps(told) + "\n")


main()
