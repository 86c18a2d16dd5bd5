"""The codec alone: a reply in memory becomes a reply one can look into, and is freed."""

from figures import LOWER, Metric, Scenario
from harness import numbers


def bulk(length):
    return b"$%d\r\n%s\r\n" % (length, b"x" * length)


def array(*elements):
    return b"*%d\r\n%s" % (len(elements), b"".join(elements))


REPLIES = {
    "integer": (b":10\r\n", "An integer."),
    "bulk-16": (bulk(16), "A string of 16 bytes."),
    "array-3": (array(b":10\r\n", bulk(16), b"+OK\r\n"), "An array of an integer, a string and a status."),
    "array-1000": (array(*[bulk(16)] * 1000), "An array of 1,000 strings of 16 bytes."),
}


def decode(bench, name):
    reply, _ = REPLIES[name]
    file = bench.scratch() / name
    file.write_bytes(reply)
    repeats = bench.calls(2_000_000 if len(reply) < 1000 else 5_000)
    rust = bench.cargo_program("decode")
    measures = {
        "rs_script": numbers([rust, "rs_script", file, repeats]),
        "redis-rs": numbers([rust, "redis", file, repeats // 4]),
        "hiredis": numbers([bench.c_program("decode", None), file, repeats // 4]),
    }
    yield from bench.compare(measures, Metric("ns/reply", LOWER))


SCENARIOS = [
    Scenario(f"decode-{name}", "decode", text, lambda bench, name=name: decode(bench, name))
    for name, (_, text) in REPLIES.items()
]
