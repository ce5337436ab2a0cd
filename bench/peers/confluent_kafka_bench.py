"""The workloads of the benchmark done by Python's confluent-kafka, with crema's defaults:
one run, one line of JSON. See ../README.md."""

import argparse
import os
import resource
import sys
import time

from confluent_kafka import Consumer, Producer

POLL_EVERY = 1000


def settings(name):
    """The properties of ../settings, which are librdkafka's too."""
    folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "settings")
    with open(os.path.join(folder, name), encoding="utf-8") as lines:
        pairs = [line.strip().split("=") for line in lines if "=" in line and line[0] != "#"]
    return dict(pairs)


def produce(o):
    """One message a call; without callbacks, which would only cost more."""
    failed = []
    conf = settings("producer.conf")
    conf["bootstrap.servers"] = o.b
    conf["error_cb"] = failed.append
    producer = Producer(conf)
    producer.produce(o.t, b"w")
    producer.flush()
    value = b"x" * o.s
    start = moment()
    for i in range(o.n):
        while True:
            try:
                producer.produce(o.t, value)
                break
            except BufferError:
                producer.poll(1)
        if i % POLL_EVERY == 0:
            producer.poll(0)
    left = producer.flush(60)
    end = moment()
    if left or failed:
        sys.exit(f"confluent_kafka: {left} messages are left, {failed}")
    result(o, o.n, start, end)


def consume(o):
    """Batches, from the first arrival to the last."""
    conf = settings("consumer.conf")
    conf["bootstrap.servers"] = o.b
    conf["group.id"] = f"bench-python-{os.getpid()}"
    conf["queued.max.messages.kbytes"] = "65536"
    consumer = Consumer(conf)
    consumer.subscribe([o.t])
    got, start = 0, None
    while got < o.n:
        batch = consumer.consume(1000, 1)
        if batch and start is None:
            start = moment()
        got += len(batch)
    end = moment()
    result(o, got, start, end)
    consumer.close()


def moment():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return time.monotonic(), usage.ru_utime + usage.ru_stime


def result(o, count, start, end):
    seconds, cpu = end[0] - start[0], end[1] - start[1]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f'{{"workload":"{o.w}","client":"{o.c}","messages":{count},"size":{o.s},'
        f'"seconds":{seconds:.4f},"peak_mb":{peak:.4f},"rate":{count / seconds:.4f},'
        f'"cpu_seconds_per_million":{cpu * 1e6 / count:.4f}}}'
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["produce", "consume"])
    for name in "wcbt":
        parser.add_argument("-" + name)
    for name in "nsB":
        parser.add_argument("-" + name, type=int)
    o = parser.parse_args()
    {"produce": produce, "consume": consume}[o.command](o)


main()
