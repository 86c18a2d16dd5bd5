"""The codec alone: a reply in memory becomes a reply one can look into, and is freed."""

from harness import LOWER, Figure, in_turn, run


def bulk(length):
    return b"$%d\r\n%s\r\n" % (length, b"x" * length)


def array(*elements):
    return b"*%d\r\n%s" % (len(elements), b"".join(elements))


REPLIES = {
    "integer": b":10\r\n",
    "bulk-16": bulk(16),
    "array-3": array(b":10\r\n", bulk(16), b"+OK\r\n"),
    "array-1000": array(*[bulk(16)] * 1000),
}


def decode(bench, name):
    file = bench.scratch() / name
    file.write_bytes(REPLIES[name])
    repeats = 2_000_000 if len(REPLIES[name]) < 1000 else 5_000
    rust = bench.cargo_program("decode")
    measures = (
        lambda: float(run([rust, "rs_script", file, repeats])),
        lambda: float(run([rust, "redis", file, repeats // 4])),
        lambda: float(run([bench.c_program("decode", None), file, repeats // 4])),
    )
    ours, redis_rs, hiredis = in_turn(*measures)
    yield Figure(ours, "redis-rs", redis_rs, "ns/reply", LOWER)
    yield Figure(ours, "hiredis", hiredis, "ns/reply", LOWER)


SCENARIOS = {f"decode-{name}": lambda bench, name=name: decode(bench, name) for name in REPLIES}
