"""What a run was made on, and with which versions: nothing that tells whose machine it is, or where it stands."""

import datetime
import os
import pathlib
import platform
import re
import subprocess

import peers
from harness import ROOT


def printed(*command):
    """What a program prints of itself; an empty string without it."""
    try:
        result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    except OSError:
        return ""
    return result.stdout


def first(pattern, text):
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else "unknown"


def processor():
    if platform.system() == "Darwin":
        return printed("sysctl", "-n", "machdep.cpu.brand_string").strip()
    return first(r"^(?:model name|Model)\s*:\s*(.*)$", pathlib.Path("/proc/cpuinfo").read_text())


def server(program):
    return first(r"v=([\d.]+)", printed(program, "--version")) if program else None


def describe(bench):
    headers, _ = bench.hiredis()
    valkey = server(bench.other_server("valkey-9.1"))
    return {
        "date": datetime.date.today().isoformat(),
        "version": first(r'^version = "([^"]+)"', (ROOT / "Cargo.toml").read_text()),
        "processor": processor(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {first(r'^([0-9.]+[0-9])', platform.release())}, {platform.machine()}",
        "servers": f"Redis {server('redis-server')}" + (f"; Valkey {valkey} where it is named" if valkey else ""),
        "tools": {
            "rustc": first(r"rustc (\S+)", printed("rustc", "--version")),
            "cc": printed("cc", "-dumpfullversion", "-dumpversion").strip(),
            "Go": first(r"go version go(\S+)", printed("go", "version")),
            "Node": first(r"v(\S+)", printed("node", "--version")),
            "Python": platform.python_version(),
        },
        "peers": peers.versions(peers.hiredis_version(headers / "hiredis" / "hiredis.h")),
    }
