"""The clients that the library is measured against: which versions, and what each is used as."""

import pathlib
import re

HERE = pathlib.Path(__file__).parent

# The source distribution of Python's hiredis carries the C library, newer than distributions have it.
HIREDIS_SOURCE = "hiredis==3.5.0"
HIREDIS_SHA256 = "c227592cc56b7df247abe4755c26723965be68972be2149fa441ac33d82131ba"
# With the parser in C, as who wants speed installs it.
PYTHON_PEERS = ("redis==8.1.0", "hiredis==3.5.0")
NODE_PEERS = {"@valkey/valkey-glide": "2.5.2", "ioredis": "6.0.0", "redis": "6.3.1"}

# In the order of the page: what the page says of each, by the name that scenarios have for it.
TEXTS = {
    "hiredis": "blocking, a connection for each thread; built from source with `-O3`, as its makefile does",
    "hiredis on libevent": "its asynchronous API, one connection, one thread",
    "redis-rs": "a connection for each thread; on clusters tasks on one thread of tokio's; with TCP_NODELAY",
    "redis-rs-threads": "on clusters, that client called from threads",
    "rueidis": "one client, its defaults",
    "go-redis": "one client, its defaults (a pool of 10 connections a processor)",
    "ioredis": "one connection, its defaults",
    "ioredis-autopipelining": "the same with `enableAutoPipelining`",
    "node-redis": "one connection, its defaults",
    "valkey-glide": "for Node, one client, with room for 10,000 requests in flight",
    "redis-py": "with the parser of hiredis; a pool of connections",
}


def hiredis_version(header):
    """The version in hiredis.h."""
    found = re.findall(r"#define HIREDIS_(?:MAJOR|MINOR|PATCH) (\d+)", header.read_text())
    return ".".join(found)


def versions(hiredis):
    """The version of each client by its name; `hiredis` is that of the C library."""
    redis_rs = re.search(r'^redis = \{ version = "=([^"]+)"', (HERE / "pipeline" / "Cargo.toml").read_text(), re.M)[1]
    go = dict(re.findall(r"^\s(\S+) v(\S+)$", (HERE / "go" / "go.mod").read_text(), re.M))
    ioredis = NODE_PEERS["ioredis"]
    return {
        "hiredis": hiredis,
        "hiredis on libevent": hiredis,
        "redis-rs": redis_rs,
        "redis-rs-threads": redis_rs,
        "rueidis": go["github.com/redis/rueidis"],
        "go-redis": go["github.com/redis/go-redis/v9"],
        "ioredis": ioredis,
        "ioredis-autopipelining": ioredis,
        "node-redis": NODE_PEERS["redis"],
        "valkey-glide": NODE_PEERS["@valkey/valkey-glide"],
        "redis-py": PYTHON_PEERS[0].partition("==")[2],
    }
