"""What scenarios are made of: builds, a server of their own, runs in turn, medians."""

import binascii
import contextlib
import dataclasses
import itertools
import os
import pathlib
import platform
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ROOT / "benches"
# Programs and other people's crates; what cargo makes of the library itself lies where cargo puts it.
OUT = ROOT / "target" / "bench"

REDIS_PY = "redis==8.1.0"
NODE_PEERS = ("@valkey/valkey-glide@2.5.2", "ioredis@6.0.0", "redis@6.3.1")

SLOTS = 16384

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))

HIGHER = "higher"
LOWER = "lower"


class Failure(Exception):
    """Ends the run with a message."""


@dataclasses.dataclass
class Figure:
    """One line of the output."""

    ours: float
    peer: str
    theirs: float
    unit: str
    better: str

    def line(self, scenario):
        ratio = f"{self.ours / self.theirs:.3f}" if self.theirs else "-"
        fields = (scenario, number(self.ours), self.peer, number(self.theirs), ratio, self.unit, self.better)
        return "\t".join(fields)


def number(value):
    return f"{value:.0f}" if value >= 1000 else f"{value:.2f}"


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(command, **options):
    """Runs a command and returns what it printed; its failure is the bench's."""
    command = [str(part) for part in command]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if result.returncode != 0:
        raise Failure(f"{' '.join(command)} failed ({result.returncode}):\n{result.stderr}{result.stdout}")
    return result.stdout


def in_turn(*measures, rounds=ROUNDS):
    """Runs the measures in turn, so that what else the machine does meets all of them; the medians."""
    results = [[] for _ in measures]
    for _ in range(rounds):
        for measure, values in zip(measures, results):
            values.append(measure())
    return [median(values) for values in results]


def median(values):
    """The median; of tuples, place by place."""
    if isinstance(values[0], tuple):
        return tuple(map(statistics.median, zip(*values)))
    return statistics.median(values)


def instructions(command, short, long):
    """User-mode instructions of one call: two runs of different length, so that starting and ending cancel out."""

    def count(calls):
        with tempfile.TemporaryDirectory() as directory:
            out = pathlib.Path(directory) / "callgrind"
            run(["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}", *command(calls)])
            return int(re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)[1])

    return (count(long) - count(short)) / (long - short)


class Bench:
    """What scenarios share: each program is built once, the server started when it is first asked for."""

    def __init__(self):
        self.resources = contextlib.ExitStack()
        self.built = {}
        self.server_port = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.resources.close()

    def once(self, key, build):
        if key not in self.built:
            self.built[key] = build()
        return self.built[key]

    def library(self):
        """Builds the library as users get it; returns the path of the shared library, which programs find in OUT."""

        def build():
            progress("building rs_script")
            run(["cargo", "build", "--quiet", "--release", "--locked"], cwd=ROOT)
            mac = platform.system() == "Darwin"
            path = ROOT / "target" / "release" / ("librs_script.dylib" if mac else "librs_script.so")
            OUT.mkdir(parents=True, exist_ok=True)
            link = OUT / ("librs_script.0.1.dylib" if mac else "librs_script.so.0.1")
            link.unlink(missing_ok=True)
            link.symlink_to(path)
            return path

        return self.once("library", build)

    def c_program(self, main, client, others=("-lhiredis",)):
        """Builds benches/c/MAIN.c, together with CLIENT.c where it is another, against rs_script or the libraries OTHERS."""

        def build():
            libraries = others
            if client == "rs_script":
                library = self.library()
                rpath = "@loader_path" if library.suffix == ".dylib" else "$ORIGIN"
                libraries = [library, f"-Wl,-rpath,{rpath}"]
            OUT.mkdir(parents=True, exist_ok=True)
            sources = [SOURCES / "c" / f"{name}.c" for name in (main, client) if name]
            program = OUT / "-".join(source.stem for source in sources)
            flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}"]
            run(["cc", *flags, *sources, "-o", program, *libraries, "-lpthread"])
            return program

        return self.once(("c", main, client), build)

    def cargo_program(self, name):
        """Builds the package benches/NAME, which pins its peers in a Cargo.lock of its own."""

        def build():
            progress(f"building benches/{name}")
            target = OUT / "cargo"
            run(["cargo", "build", "--quiet", "--release", "--locked", "--target-dir", target], cwd=SOURCES / name)
            return target / "release" / name

        return self.once(("cargo", name), build)

    def go_program(self):
        """Builds the module benches/go, which pins its peers in its go.mod, against the library in this repository."""

        def build():
            self.library()
            progress("building benches/go")
            program = OUT / "go"
            # Go does not notice that the library is another one.
            program.unlink(missing_ok=True)
            command = ["go", "build", "-tags", "rs_script_repository", "-o", program, "."]
            run(command, cwd=SOURCES / "go", env={**os.environ, "GOTOOLCHAIN": "local"})
            return program

        return self.once("go", build)

    def python_program(self, name):
        """The command that runs benches/python/NAME.py, with redis-py in a directory of its own."""

        def build():
            progress("installing redis-py")
            packages = OUT / "python"
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
            run([*pip, "--upgrade", "--target", packages, REDIS_PY])
            return packages

        packages = self.once("redis-py", build)
        return ["env", f"PYTHONPATH={packages}", sys.executable, SOURCES / "python" / f"{name}.py"]

    def node_program(self, name, ffi="ffi-napi"):
        """The command that runs benches/node/NAME.js, with the peers in a directory of their own, and our own binding through the package FFI."""

        def build():
            library = self.library()
            progress("installing the peers for Node")
            packages = OUT / "node"
            packages.mkdir(parents=True, exist_ok=True)
            npm = ["npm", "--silent", "--no-audit", "--no-fund"]
            run([*npm, "install", "--prefix", packages, *NODE_PEERS])
            run([*npm, "ci"], cwd=ROOT / "bindings" / "node")
            return [f"NODE_PATH={packages / 'node_modules'}", f"RS_SCRIPT_LIBRARY={library}"]

        return ["env", *self.once("node", build), f"RS_SCRIPT_FFI={ffi}", "node", SOURCES / "node" / f"{name}.js"]

    def scratch(self):
        """A directory that goes with the bench."""
        return self.once(
            "scratch", lambda: pathlib.Path(self.resources.enter_context(tempfile.TemporaryDirectory()))
        )

    def port(self):
        """The port of a server that both sides talk to."""
        if self.server_port is None:
            self.server_port = self.start_server()
        return self.server_port

    def cluster(self):
        """The ports of a cluster of three primaries, and a file that names a key for each slot, all of them set to 2."""
        return self.once("cluster", self.start_cluster)

    def distant_cluster(self, round_trip):
        """A cluster of three primaries with a replica each, so many microseconds away: the ports of the primaries' relays, and as in
        `cluster` the keys; then a function that gives the CPU seconds that the relay has used."""
        return self.once(("distant", round_trip), lambda: self.start_distant_cluster(round_trip))

    def start_distant_cluster(self, round_trip):
        relay = self.cargo_program("relay")
        progress("starting a distant cluster")
        near = [self.start_server(cluster=True) for _ in range(6)]
        far = [free_port() for _ in near]
        for port, announced in zip(near, far):
            run(["redis-cli", "-p", port, "config", "set", "cluster-announce-port", announced])
            run(["redis-cli", "-p", port, "config", "set", "cluster-announce-bus-port", port + 10_000])
        pairs = [f"{listen}:{target}" for listen, target in zip(far, near)]
        process = subprocess.Popen(
            [relay, str(round_trip), *pairs], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.resources.callback(stop, process)
        if process.stdout.readline() != "ready\n":
            raise Failure("the relay does not start")

        def cpu():
            process.stdin.write("\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        keys = self.fill_cluster(far, replicas=1)
        return primary_ports(near[0]), keys, cpu

    def start_cluster(self):
        progress("starting a cluster")
        ports = [self.start_server(cluster=True) for _ in range(3)]
        return ports, self.fill_cluster(ports)

    def fill_cluster(self, ports, replicas=0):
        nodes = [f"127.0.0.1:{port}" for port in ports]
        create = ["redis-cli", "--cluster", "create", *nodes, "--cluster-yes"]
        run([*create, "--cluster-replicas", replicas] if replicas else create)
        for port in ports:
            wait_until_serving(port)
        keys = a_key_for_each_slot()
        # In the order of their slots, so that redis-cli is redirected twice and not ten thousand times.
        commands = "".join(f"SET {keys[slot]} 2\n" for slot in sorted(keys))
        if run(["redis-cli", "-c", "-p", ports[0]], input=commands).count("OK") != SLOTS:
            raise Failure("the cluster does not take its keys")
        file = self.scratch() / "keys"
        # In the order they were found in, which is random as far as slots go.
        file.write_text("".join(f"{key}\n" for key in keys.values()))
        if replicas:
            wait_for_replicas(ports)
        return file

    def start_server(self, cluster=False):
        for _ in range(10):
            port = free_port()
            settings = {"bind": "127.0.0.1", "port": port, "save": "", "dir": self.scratch(), "loglevel": "warning"}
            if cluster:
                settings |= {"cluster-enabled": "yes", "cluster-config-file": f"nodes-{port}.conf"}
            command = ["redis-server"]
            for name, value in settings.items():
                command += [f"--{name}", str(value)]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            if answers(server, port):
                self.resources.callback(stop, server)
                return port
            stop(server)
        raise Failure("redis-server does not start")


def free_port():
    """A port that nothing listens on, nor on the one 10,000 above it, which a node of a cluster takes as well."""
    for _ in range(100):
        port = random.randrange(11_000, 21_000)
        try:
            for number in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", number))
            return port
        except OSError:
            continue
    raise Failure("there is no free port")


def a_key_for_each_slot():
    """Keys by slot, in the order that counting finds them in."""
    keys = {}
    for number in itertools.count():
        key = f"key:{number}"
        keys.setdefault(binascii.crc_hqx(key.encode(), 0) % SLOTS, key)
        if len(keys) == SLOTS:
            return keys


def wait_until_serving(port):
    deadline = time.monotonic() + 30
    while "cluster_state:ok" not in run(["redis-cli", "-p", port, "cluster", "info"]):
        if time.monotonic() > deadline:
            raise Failure("the cluster does not form")
        time.sleep(0.01)


def wait_for_replicas(ports):
    """Waits until each replica has all that its primary had when this began."""
    deadline = time.monotonic() + 60
    for port in ports:
        while "master_link_status:down" in (info := run(["redis-cli", "-p", port, "info", "replication"])) or (
            "role:slave" in info and "master_sync_in_progress:1" in info
        ):
            if time.monotonic() > deadline:
                raise Failure("a replica does not follow its primary")
            time.sleep(0.05)
    time.sleep(1)


def primary_ports(port):
    """The announced ports of a cluster's primaries."""
    nodes = run(["redis-cli", "-p", port, "cluster", "nodes"]).splitlines()
    return [int(line.split()[1].split("@")[0].rsplit(":", 1)[1]) for line in nodes if "master" in line.split()[2]]


def answers(server, port):
    """Waits until the server answers; false when it ends instead, as it does when its port was taken meanwhile."""
    deadline = time.monotonic() + 30
    while server.poll() is None and time.monotonic() < deadline:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                if connection.recv(64).startswith(b"+PONG"):
                    return server.poll() is None
        except OSError:
            time.sleep(0.01)
    return False


def stop(server):
    server.terminate()
    server.wait()
