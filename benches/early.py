"""How soon a live run decides: see early.sh."""

import argparse
import http.client
import http.server
import json
import os
import queue
import random
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from datetime import datetime, timezone
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# A batch every so often, and so many connections: a push is answered once it is durable.
STEP_S = 0.01
CONNECTIONS = 4


def main() -> None:
    options = argparse.ArgumentParser()
    options.add_argument("--rate", type=int, default=5_000)
    options.add_argument("--seconds", type=int, default=25)
    options.add_argument("--share", type=float, default=0.01)
    options.add_argument("--act", choices=("early", "settled"), default="early")
    options.add_argument("--orders", action="store_true")
    options.add_argument("--work", type=Path)
    options = options.parse_args()
    work = Path(tempfile.mkdtemp(prefix="quell-early-", dir=options.work))
    try:
        measure(options, work)
    finally:
        shutil.rmtree(work)


def measure(options: argparse.Namespace, work: Path) -> None:
    orders = Orders() if options.orders else None
    flow = plan(work / "plan", options.act, orders)
    tell("fsync of 4 KiB before", fsyncs(work, 200, 0.0))
    command = [os.environ["QUELL"], "run", "--flow", flow, "--archive", work / "archive", "--decisions", "-", "--output", "json"]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    heard: list = []
    reader = threading.Thread(target=lambda: heard.extend((time.monotonic(), line) for line in run.stdout))
    reader.start()
    address = listening(run)
    during: list = []
    disk = threading.Thread(target=lambda: during.extend(fsyncs(work, options.seconds * 4, 0.25)))
    disk.start()
    sent, answered, late = load(address, options)
    disk.join()
    time.sleep(1)
    run.terminate()
    run.wait()
    reader.join()
    decided: dict = {}
    rulings: dict = {}
    for at, line in heard[:-1]:
        said = json.loads(line)
        rulings[said["ruling"]] = rulings.get(said["ruling"], 0) + 1
        for target in said["targets"]:
            decided.setdefault(target.removeprefix("host:"), at)
    summary = json.loads(heard[-1][1])
    print(f"{mount(work)}; {os.cpu_count()} cores; {options.rate} records/s for {options.seconds} s in batches of {int(options.rate * STEP_S)}")
    print(f"records {summary['records']}, rulings {rulings}, divergences {summary['divergences']}, batches sent late by {late * 1000:.0f} ms at most")
    tell("fsync of 4 KiB during", during)
    tell("push answered", answered)
    waits = [decided[host] - at for host, at in sent.items() if host in decided]
    tell(f"record to decision, act: {options.act}", waits)
    for host, at in sorted(sent.items(), key=lambda it: -(decided.get(it[0], 0) - it[1]))[:8]:
        if host in decided and os.environ.get("WORST"):
            print(f"  {(decided[host] - at) * 1000:.1f} ms at {at - min(sent.values()):.2f} s")
    if orders:
        tell("record to order", [orders.given[host] - at for host, at in sent.items() if host in orders.given])
    print(f"{len(sent) - len(waits)} of {len(sent)} attacks without an executed decision")


def tell(what: str, seconds: list) -> None:
    if not seconds:
        return print(f"{what}: none")
    seconds = sorted(seconds)
    p50, p99 = (seconds[int((len(seconds) - 1) * share)] * 1000 for share in (0.5, 0.99))
    print(f"{what}: {len(seconds)}, p50 {p50:.2f} ms, p99 {p99:.2f} ms, most {seconds[-1] * 1000:.2f} ms", flush=True)


def plan(folder: Path, act: str, orders) -> Path:
    """The project's own plan, with a source that is pushed to and a policy without bounds."""
    shutil.copytree(ROOT / "dataflows", folder)
    flow, policy = folder / "pipeline.yml", folder / "policies/default.yml"
    text = flow.read_text().replace("../models/ranker", str(ROOT / "models/ranker"))
    text = text.replace("tenant: default\n", "tenant: default\nsources:\n  - {name: edge, type: http, listen: '127.0.0.1:0', clock: wall}\n")
    if orders:
        text = re.sub("executor: .*", f"executor: {{type: webhook, url: 'http://127.0.0.1:{orders.port}/'}}", text)
    flow.write_text(text)
    text = policy.read_text().replace("act: settled", f"act: {act}")
    text = text.replace("{ score: 0.80, confidence: 0.90 }", "{ score: 0, confidence: 0 }").replace("escalate: 0.40", "escalate: 0")
    text = re.sub("always:\n.*\n", "always: []\n", text)
    text = re.sub(r"((?:isolating|blocking|changing|incident|contain|deny|delete|set|restart|investigate|notify|copy)): \d+", r"\1: 1000000", text)
    policy.write_text(text)
    return flow


def listening(run: subprocess.Popen) -> str:
    for line in run.stderr:
        found = re.search(r"http://([^/]+)/push/edge", line)
        if found:
            threading.Thread(target=lambda: [sys.stderr.write(line) for line in run.stderr if "Ctrl-C" not in line], daemon=True).start()
            return found[1]
    sys.exit("early: quell did not start")


def load(address: str, options: argparse.Namespace) -> tuple:
    """Posts at the rate; when each attack's batch began to be sent, how long pushes took, and how late one began."""
    dice, sent, answered, late = random.Random(7), {}, [], [0.0]
    batches: queue.Queue = queue.Queue()
    size = int(options.rate * STEP_S)

    def post() -> None:
        connection = http.client.HTTPConnection(address)
        while (batch := batches.get()) is not None:
            due, hosts, body = batch
            now = time.monotonic()
            late[0] = max(late[0], now - due)
            sent.update((host, now) for host in hosts)
            connection.request("POST", "/push/edge", body, {"Content-Type": "application/x-ndjson"})
            answer = connection.getresponse()
            answer.read()
            if answer.status != 200:
                sys.exit(f"early: a push was answered {answer.status}")
            answered.append(time.monotonic() - now)

    posting = [threading.Thread(target=post) for _ in range(CONNECTIONS)]
    [thread.start() for thread in posting]
    start, number = time.monotonic(), 0
    for step in range(int(options.seconds / STEP_S)):
        due = start + step * STEP_S
        hosts, lines, now = [], [], datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        for _ in range(size):
            number += 1
            if dice.random() < options.share:
                hosts.append(f"x{number}")
                lines.append(attack(number, now))
            else:
                lines.append(noise(number, now, dice))
        time.sleep(max(0.0, due - time.monotonic()))
        batches.put((due, hosts, "".join(lines).encode()))
    [batches.put(None) for _ in posting]
    [thread.join() for thread in posting]
    return sent, answered, late[0]


def attack(number: int, now: str) -> str:
    return (
        f'{{"id":"a{number}","time":"{now}","product":"edr","rule_id":"ransom","rule_name":"Ransomware behaviour","severity":"critical",'
        f'"technique":"T1486","host":"x{number}","user":"u{number}"}}\n'
    )


def noise(number: int, now: str, dice: random.Random) -> str:
    rule, host = int(dice.paretovariate(1.2)) % 200, int(dice.paretovariate(0.7)) % 2000
    return (
        f'{{"id":"n{number}","time":"{now}","product":"edr","rule_id":"r{rule}","rule_name":"Rule {rule}","severity":"low",'
        f'"technique":"T1059","host":"h{host}","user":"w{host % 700}","src_ip":"10.0.{host % 250}.{rule}"}}\n'
    )


class Orders:
    """An executor over HTTP: when each host was first ordered something."""

    def __init__(self) -> None:
        self.given: dict = {}
        given = self.given

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                given.setdefault(order["target"].removeprefix("host:"), time.monotonic())
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = server.server_port
        threading.Thread(target=server.serve_forever, daemon=True).start()


def fsyncs(work: Path, times: int, pause: float) -> list:
    took = []
    with (work / "fsync").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(os.urandom(4096))
            start = time.monotonic()
            os.fsync(file.fileno())
            took.append(time.monotonic() - start)
            time.sleep(pause)
    return took


def mount(work: Path) -> str:
    found = max((line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines() if str(work).startswith(line.split()[1])), key=lambda it: len(it[1]))
    return f"disk {found[0]} ({found[2]})"


main()
