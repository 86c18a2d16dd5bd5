"""What scenarios are made of: builds, a server of their own, runs in turn, medians."""

import contextlib
import dataclasses
import os
import pathlib
import platform
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
    return [statistics.median(values) for values in results]


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
            link = OUT / ("librs_script.0.dylib" if mac else "librs_script.so.0")
            link.unlink(missing_ok=True)
            link.symlink_to(path)
            return path

        return self.once("library", build)

    def c_program(self, main, client):
        """Builds benches/c/MAIN.c, together with CLIENT.c where one is named, against rs_script or hiredis."""

        def build():
            libraries = ["-lhiredis"]
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

    def start_server(self):
        for _ in range(10):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port = probe.getsockname()[1]
            settings = {"bind": "127.0.0.1", "port": port, "save": "", "dir": self.scratch(), "loglevel": "warning"}
            command = ["redis-server"]
            for name, value in settings.items():
                command += [f"--{name}", str(value)]
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            if answers(server, port):
                self.resources.callback(stop, server)
                return port
            stop(server)
        raise Failure("redis-server does not start")


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
