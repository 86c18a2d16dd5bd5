"""What scenarios are made of: builds, servers of their own, runs in turn."""

import binascii
import contextlib
import itertools
import os
import pathlib
import platform
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

import peers
from figures import Comparison, Series

ROOT = pathlib.Path(__file__).resolve().parent.parent
SOURCES = ROOT / "benches"
# Programs and other people's crates; what cargo makes of the library itself lies where cargo puts it.
OUT = ROOT / "target" / "bench"

SLOTS = 16384

class Failure(Exception):
    """Ends the run with a message."""


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def run(command, **options):
    """Runs a command and returns what it printed; its failure is the bench's."""
    command = [str(part) for part in command]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)
    if result.returncode != 0:
        raise Failure(f"{' '.join(command)} failed ({result.returncode}):\n{result.stderr}{result.stdout}")
    return result.stdout


def numbers(command):
    """What runs a program and reads the numbers that it prints."""
    return lambda: tuple(map(float, run(command).split()))


# Without it a processor of one kind copies by a single instruction, which callgrind counts for each byte, and one of
# another kind by instructions of 32 bytes: counts of two machines would not compare.
COPYING = "glibc.cpu.x86_rep_movsb_threshold=0x7fffffff:glibc.cpu.x86_rep_stosb_threshold=0x7fffffff"


def instructions(command, short, long):
    """User-mode instructions of one call: two runs of different length, so that starting and ending cancel out."""

    def count(calls):
        with tempfile.TemporaryDirectory() as directory:
            out = pathlib.Path(directory) / "callgrind"
            tool = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
            run([*tool, *command(calls)], env={**os.environ, "GLIBC_TUNABLES": COPYING})
            return int(re.search(r"^(?:totals|summary): (\d+)", out.read_text(), re.MULTILINE)[1])

    return (count(long) - count(short)) / (long - short)


def comparisons(taken, *metrics):
    """Of what Bench.take gave."""
    for place, metric in enumerate(metrics):
        series = [Series(client, tuple(values[place] for values in rounds)) for client, rounds in taken.items()]
        yield Comparison(metric, series[0], tuple(series[1:]))


class Bench:
    """What scenarios share: each program is built once, a server started when it is first asked for.

    `rounds`: how often each client is measured. `scale`: the share of the calls that are made."""

    def __init__(self, rounds=7, scale=1.0):
        self.resources = contextlib.ExitStack()
        self.built = {}
        self.rounds = rounds
        self.scale = scale

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.resources.close()

    def once(self, key, build):
        if key not in self.built:
            self.built[key] = build()
        return self.built[key]

    def calls(self, calls, at_once=1):
        """So many calls, or a share of them; several times those that are made at once."""
        return max(int(calls * self.scale), min(calls, 2 * at_once))

    def take(self, measures, rounds=None):
        """Runs the measures in turn, so that what else the machine does meets all of them: functions that give a
        tuple of numbers, by the names of clients. What each client gave, round by round."""
        taken = {client: [] for client in measures}
        for _ in range(min(rounds or self.rounds, self.rounds)):
            for client, measure in measures.items():
                taken[client].append(measure())
        return taken

    def compare(self, measures, *metrics, rounds=None):
        """Comparisons of what is taken so, of which the first client is ours; `metrics`: what each of the numbers
        is."""
        return comparisons(self.take(measures, rounds), *metrics)

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

    def hiredis(self):
        """Builds the hiredis that peers.py names; returns the directory with its headers, and the library."""

        def build():
            source = OUT / "hiredis" / peers.HIREDIS_SHA256[:12]
            headers, library = source / "vendor", source / "libhiredis.a"
            if not library.exists():
                progress("building hiredis")
                source.mkdir(parents=True, exist_ok=True)
                wanted = source / "wanted"
                wanted.write_text(f"{peers.HIREDIS_SOURCE} --hash=sha256:{peers.HIREDIS_SHA256}\n")
                pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
                run([*pip, "--no-binary=:all:", "--require-hashes", "--dest", source, "-r", wanted])
                (packed,) = source.glob("*.tar.gz")
                run(["tar", "-xzf", packed, "--strip-components=1", "-C", source])
                names = ("alloc", "async", "hiredis", "net", "read", "sds", "sockcompat")
                objects = [source / f"{name}.o" for name in names]
                for name, made in zip(names, objects):
                    run(["cc", "-O3", "-fPIC", "-c", headers / "hiredis" / f"{name}.c", "-o", made])
                run(["ar", "rcs", library, *objects])
            return headers, library

        return self.once("hiredis", build)

    def c_program(self, main, client, others=()):
        """Builds benches/c/MAIN.c, together with CLIENT.c where it is another, against rs_script or hiredis and the
        libraries OTHERS."""

        def build():
            if client != "rs_script":
                headers, hiredis = self.hiredis()
                # Its headers are no business of our warnings.
                libraries = ["-isystem", headers, hiredis, *others]
            else:
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
            shutil.rmtree(packages, ignore_errors=True)
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install"]
            run([*pip, "--target", packages, *peers.PYTHON_PEERS])
            return packages

        packages = self.once("redis-py", build)
        return ["env", f"PYTHONPATH={packages}", sys.executable, SOURCES / "python" / f"{name}.py"]

    def node_program(self, name, ffi="ffi-napi"):
        """The command that runs benches/node/NAME.js, with the peers in a directory of their own, and our own binding
        through the package FFI."""

        def build():
            library = self.library()
            progress("installing the peers for Node")
            packages = OUT / "node"
            packages.mkdir(parents=True, exist_ok=True)
            npm = ["npm", "--silent", "--no-audit", "--no-fund"]
            wanted = [f"{name}@{version}" for name, version in peers.NODE_PEERS.items()]
            run([*npm, "install", "--prefix", packages, *wanted])
            run([*npm, "ci"], cwd=ROOT / "bindings" / "node")
            return [f"NODE_PATH={packages / 'node_modules'}", f"RS_SCRIPT_LIBRARY={library}"]

        return ["env", *self.once("node", build), f"RS_SCRIPT_FFI={ffi}", "node", SOURCES / "node" / f"{name}.js"]

    def scratch(self):
        """A directory that goes with the bench."""
        return self.once(
            "scratch", lambda: pathlib.Path(self.resources.enter_context(tempfile.TemporaryDirectory()))
        )

    def port(self, round_trip=0):
        """The port of a server that all clients talk to; so many microseconds away."""
        port = self.once("server", self.start_server)
        if round_trip == 0:
            return port
        return self.once(("relay", round_trip), lambda: self.start_relay(round_trip, [port])[0][0])

    def cluster(self):
        """The ports of a cluster of three primaries, and a file that names a key for each slot, all of them set to
        2."""
        return self.once("cluster", self.start_cluster)

    def distant_cluster(self, round_trip):
        """A cluster of three primaries with a replica each, so many microseconds away until somebody wants another
        distance: the ports of the primaries' relays, and as in `cluster` the keys; then a function that gives the CPU
        seconds that the relay has used."""
        ports, keys, relay = self.once("distant", self.start_distant_cluster)
        relay(round_trip)
        return ports, keys, relay

    def start_relay(self, round_trip, targets, announce=lambda port, announced: None):
        """Starts a relay in front of so many ports, each of which `announce` is told first. Returns its own ports,
        and a function that sets the round trip's microseconds where it is given them, and gives the CPU seconds that
        the relay has used."""
        program = self.cargo_program("relay")
        ports = []
        while len(ports) < len(targets):
            if (port := free_port()) not in ports:
                ports.append(port)
        for target, port in zip(targets, ports):
            announce(target, port)
        pairs = [f"{port}:{target}" for port, target in zip(ports, targets)]
        process = subprocess.Popen(
            [program, str(round_trip), *pairs], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.resources.callback(stop, process)
        if process.stdout.readline() != "ready\n":
            raise Failure("the relay does not start")

        def relay(round_trip=""):
            process.stdin.write(f"{round_trip}\n")
            process.stdin.flush()
            return float(process.stdout.readline())

        return ports, relay

    def start_distant_cluster(self):
        progress("starting a distant cluster")
        near = [self.start_server(cluster=True) for _ in range(6)]

        def announce(port, announced):
            run(["redis-cli", "-p", port, "config", "set", "cluster-announce-port", announced])
            run(["redis-cli", "-p", port, "config", "set", "cluster-announce-bus-port", port + 10_000])

        far, relay = self.start_relay(0, near, announce)
        keys = self.fill_cluster(far, replicas=1)
        return primary_ports(near[0]), keys, relay

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

    def other_server(self, name):
        """The server of this name among those of scripts/servers; None where there is none for this machine."""
        known = self.once("servers", lambda: run([ROOT / "scripts" / "servers"]).splitlines())
        return next((line.split()[1] for line in known if line.split()[0] == name), None)

    def start_server(self, cluster=False, program="redis-server"):
        for _ in range(10):
            port = free_port()
            settings = {"bind": "127.0.0.1", "port": port, "save": "", "dir": self.scratch(), "loglevel": "warning"}
            if cluster:
                settings |= {"cluster-enabled": "yes", "cluster-config-file": f"nodes-{port}.conf"}
            command = [program]
            for name, value in settings.items():
                command += [f"--{name}", str(value)]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            if answers(server, port):
                self.resources.callback(stop, server)
                return port
            stop(server)
        raise Failure(f"{program} does not start")


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
    """Waits until every server names all of them for its slots: a replica only once it is known to have data."""
    deadline = time.monotonic() + 60
    wanted = set(map(str, ports))
    for port in ports:
        while not wanted <= set(run(["redis-cli", "-p", port, "cluster", "slots"]).split()):
            if time.monotonic() > deadline:
                raise Failure("a replica does not follow its primary")
            time.sleep(0.05)


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
