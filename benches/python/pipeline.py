"""redis-py: `pipeline.py PORT rate SIZE CALLS` makes CALLS calls of the multiply script, SIZE of them a pipeline, and prints
calls per second; `pipeline.py PORT cold` prints how often the first pipeline with two new scripts flushed what it had written."""

import sys
import time

import redis

MULTIPLY = "return redis.call('GET', KEYS[1]) * ARGV[1]"


def rate(client, size, calls):
    client.set("foo", "2")
    multiply = client.register_script(MULTIPLY)

    def run():
        pipeline = client.pipeline(transaction=False)
        for _ in range(size):
            multiply(keys=["foo"], args=["5"], client=pipeline)
        if pipeline.execute() != [10] * size:
            sys.exit("redis-py: a wrong product")

    run()
    start = time.perf_counter()
    for _ in range(calls // size):
        run()
    return calls / (time.perf_counter() - start)


class CountingConnection(redis.Connection):
    """Counts the commands and pipelines that it writes: after each of them it waits for the reply."""

    flushes = 0

    def send_packed_command(self, command, check_health=True):
        CountingConnection.flushes += 1
        super().send_packed_command(command, check_health)


def cold(port):
    client = redis.Redis(connection_pool=redis.ConnectionPool(connection_class=CountingConnection, port=port))
    client.script_flush()
    scripts = [client.register_script(f"return 'redis-py {number}'") for number in (1, 2)]
    before = CountingConnection.flushes
    pipeline = client.pipeline(transaction=False)
    for script in scripts:
        script(client=pipeline)
    if pipeline.execute() != [b"redis-py 1", b"redis-py 2"]:
        sys.exit("redis-py: wrong replies")
    return CountingConnection.flushes - before


port, mode, *numbers = sys.argv[1:]
if mode == "cold":
    print(cold(int(port)))
else:
    print(rate(redis.Redis(port=int(port)), *map(int, numbers)))
