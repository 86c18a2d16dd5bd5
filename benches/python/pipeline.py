"""redis-py: `pipeline.py PORT call THREADS CALLS` has each of so many threads make CALLS calls of the multiply
script, one by one; `pipeline.py PORT rate SIZE CALLS` makes CALLS of them, SIZE in a pipeline. Both print calls per
second and microseconds of this process's CPU time per call. `pipeline.py PORT cold` prints how often the first
pipeline with two new scripts flushed what it had written."""

import concurrent.futures
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

    def run_all():
        for _ in range(calls // size):
            run()

    run()
    return measured(run_all, calls // size * size)


def call(client, threads, calls):
    client.set("foo", "2")
    multiply = client.register_script(MULTIPLY)

    def run(_):
        for _ in range(calls):
            if multiply(keys=["foo"], args=["5"]) != 10:
                sys.exit("redis-py: a wrong product")

    multiply(keys=["foo"], args=["5"])
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        return measured(lambda: list(pool.map(run, range(threads))), threads * calls)


def measured(run, calls):
    start, cpu = time.perf_counter(), time.process_time()
    run()
    cpu = time.process_time() - cpu
    return f"{calls / (time.perf_counter() - start):.1f} {cpu * 1e6 / calls:.3f}"


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
    run = {"call": call, "rate": rate}[mode]
    print(run(redis.Redis(port=int(port)), *map(int, numbers)))
