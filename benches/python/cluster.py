"""redis-py on a cluster: `cluster.py NODES KEYS call CALLERS CALLS` lets CALLERS threads on one client make CALLS
calls of the multiply script, `cluster.py NODES KEYS pipeline SIZE CALLS` makes them in pipelines of SIZE. Keys, all
of them at 2, come from the file KEYS, a key a line. Prints calls per second and microseconds of this process's CPU
time per call."""

import concurrent.futures
import itertools
import sys
import time

from redis.cluster import ClusterNode, RedisCluster

MULTIPLY = "return redis.call('GET', KEYS[1]) * ARGV[1]"


def check(products, count):
    if products != [10] * count:
        sys.exit("redis-py: a wrong product")


def call_from(threads, calls):
    def call(number):
        first = number * len(keys) // threads
        for i in range(calls // threads):
            check([multiply(keys=[keys[(first + i) % len(keys)]], args=["5"])], 1)

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        list(pool.map(call, range(threads)))


# redis-py refuses EVALSHA in a pipeline of a cluster. What its users can do is a pipeline on each node's own client,
# one after the other: it takes the results as they were asked for, but not a slot that moves.
def call_in_pipelines(size, calls):
    upcoming = itertools.cycle(keys)
    for _ in range(calls // size):
        pipelines = {}
        places = {}
        for place, key in enumerate(itertools.islice(upcoming, size)):
            node = client.get_node_from_key(key)
            if node not in pipelines:
                pipelines[node] = client.get_redis_connection(node).pipeline(transaction=False)
                places[node] = []
            pipelines[node].evalsha(multiply.sha, 1, key, "5")
            places[node].append(place)
        products = [None] * size
        for node, pipeline in pipelines.items():
            for place, product in zip(places[node], pipeline.execute()):
                products[place] = product
        check(products, size)


nodes, file, mode, *numbers = sys.argv[1:]
count, calls = map(int, numbers)
with open(file) as lines:
    keys = lines.read().split()
addresses = [node.split(":") for node in nodes.split(",")]
client = RedisCluster(startup_nodes=[ClusterNode(host, int(port)) for host, port in addresses])
multiply = client.register_script(MULTIPLY)
client.script_load(MULTIPLY)
run = {"call": call_from, "pipeline": call_in_pipelines}[mode]
# What only the first calls need, such as connecting, is not measured.
run(count, 1000)
start, cpu = time.perf_counter(), time.process_time()
run(count, calls)
cpu = time.process_time() - cpu
print(f"{calls / (time.perf_counter() - start):.1f} {cpu * 1e6 / calls:.3f}")
