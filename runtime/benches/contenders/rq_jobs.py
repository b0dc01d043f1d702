"""Jobs for RQ that do nothing: rq_jobs.py enqueue|finished URL QUEUE [COUNT]"""

import sys

from redis import Redis
from rq import Queue

STEP = 1000


def nothing():
    pass


if __name__ == "__main__":
    verb, url, name, *count = sys.argv[1:]
    queue = Queue(name, connection=Redis.from_url(url))
    if verb == "enqueue":
        left = int(count[0])
        while left > 0:
            step = min(left, STEP)
            queue.enqueue_many([Queue.prepare_data("rq_jobs.nothing") for _ in range(step)])
            left -= step
    else:
        print(queue.finished_job_registry.get_job_count())
