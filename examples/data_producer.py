#!/usr/bin/env python3
"""Submits files to a queue of ingest-host, waits for the results, and prints them.

    pip install redis
    python3 data_producer.py --queuename bigdatastudy --uri http://127.0.0.1:8000/alarms.csv

REDIS_URL names the server. REDIS_HOST, REDIS_PORT and REDIS_PASSWORD can name it instead. The script
reads them from the environment, or from a file .env in the current folder. Without them, it uses a
Redis on this machine. A worker on the same server does the work:

    ingest-host run --queue bigdatastudy

Exit code: 0 if all files were ingested, 1 if a file was not, 2 for wrong usage.
"""

import argparse
import json
import os
import re
import sys
import time
import uuid
from pathlib import Path

import redis

STATES = ["ready", "delayed", "leased", "done", "dead", "cancelled"]


# The names that .env may set. Other names are ignored, so a file from a stranger can set only the server and its
# password.
NAMES = ["REDIS_URL", "REDIS_HOST", "REDIS_PORT", "REDIS_PASSWORD"]

# Matches NAME=VALUE, with or without quotes and a comment. The value is one of the last three groups.
ENTRY = re.compile(
    r"""^[ \t]*(?:export[ ]+)?([A-Za-z_][\w.-]*)[ \t]*=[ \t]*"""
    r"""(?:'([^']*)'|"([^"]*)"|(?!['"]|(?<=[ \t])#)(\S*)(?!\S))[ \t]*(?:#.*)?\r?$""",
    re.ASCII | re.MULTILINE,
)


def read_dotenv(text):
    """Returns the values of NAMES as the file has them: `$` and a backslash have no special meaning."""
    found = {entry[1]: next(filter(None, entry.groups()[1:]), "") for entry in ENTRY.finditer(text)}
    for line in ENTRY.sub("", text).splitlines():
        name = line.partition("=")[0].removeprefix("export ").strip()
        if name in NAMES:
            raise ValueError(f".env: {name} is not NAME=VALUE; a value with blanks or quotes needs other quotes")
    return {name: value for name, value in found.items() if name in NAMES}


def connect():
    settings = {name: os.environ[name] for name in NAMES if name in os.environ}
    # If there is a Service named redis, Kubernetes sets REDIS_PORT in each pod to a URL, which is not a port.
    if settings.get("REDIS_PORT", "").startswith("tcp://"):
        del settings["REDIS_PORT"]
    if Path(".env").is_file():
        in_file = read_dotenv(Path(".env").read_text(encoding="utf-8-sig"))
        # All values come from one source, because a password must not go to a host that a stranger's file names.
        if settings and not {"REDIS_URL", "REDIS_HOST"} & settings.keys() and {"REDIS_URL", "REDIS_HOST"} & in_file.keys():
            raise ValueError("name the server and its password either in the environment or in .env")
        settings = settings or in_file
    if settings.get("REDIS_URL"):
        return redis.Redis.from_url(settings["REDIS_URL"], decode_responses=True)
    return redis.Redis(
        host=settings.get("REDIS_HOST", "").strip("[]") or "127.0.0.1",
        port=int(settings.get("REDIS_PORT") or 6379),
        password=settings.get("REDIS_PASSWORD") or None,
        decode_responses=True,
    )


def submit(server, queue, request_id, uri):
    """Pushes one request to the queue's intake list. schemas/request.schema.json defines its members."""
    document = json.dumps({"id": request_id, "uri": uri})
    server.rpush(f"{queue}:in", document)
    server.rpush(f"{queue}:wake", "1")  # optional: wakes an idle worker at once
    return document


def state_of(server, queue, request_id, document):
    """Returns the request's state, with the receipt if it is done, or with the reason for another state."""
    # A worker takes the document off the intake list, and puts the id into the sorted set of the request's state.
    for state in STATES:
        if server.zscore(f"{queue}:{state}", request_id) is not None:
            uri, error, receipt = server.hmget(f"{queue}:request:{request_id}", "uri", "error", "receipt")
            if uri != json.loads(document)["uri"]:
                return "invalid", "the id belongs to another request"
            return state, json.loads(receipt) if state == "done" else error
    # If the document is not a valid request, the worker sets it aside with a reason.
    for entry in map(json.loads, server.lrange(f"{queue}:invalid", 0, 999)):
        if entry["document"] == document:
            return "invalid", entry["reason"]
    return "waiting for a worker", None


def wait(server, queue, request_id, document, deadline):
    """Waits until the request ends. Returns True if the file was ingested."""
    while True:
        state, result = state_of(server, queue, request_id, document)
        if state == "done":
            print(f"{request_id}: done:", ", ".join(f"{n} {name}" for name, n in result["records"].items()))
            print("  output: ", *[output["uri"] for output in result["outputs"]])
            print("  rejects:", result["rejects"]["uri"] or "none")
            return True
        if state in ("dead", "cancelled", "invalid"):
            print(f"{request_id}: {state}: {result}")
            return False
        if time.monotonic() > deadline:
            print(f"{request_id}: not done in time: {state}. Is a worker running?")
            return False
        time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description="Submits files to a queue of ingest-host and waits for them.")
    parser.add_argument("--queuename", required=True, help="the queue")
    parser.add_argument("--uri", required=True, action="append", help="the URI of a file (repeatable)")
    parser.add_argument("--id", help="the request's id: a request submitted twice with it is processed once")
    parser.add_argument("--timeout", type=float, default=300, help="seconds to wait (default: 300)")
    args = parser.parse_args()
    if args.id and len(args.uri) > 1:
        parser.error("--id names one request: give one --uri")

    queue = f"ingest:{{{args.queuename}}}"  # each key of the queue begins with this text
    try:
        server = connect()
        requests = []
        for uri in args.uri:
            request_id = args.id or str(uuid.uuid4())
            requests.append((request_id, submit(server, queue, request_id, uri)))
        deadline = time.monotonic() + args.timeout
        done = [wait(server, queue, request_id, document, deadline) for request_id, document in requests]
    except (redis.RedisError, ValueError) as error:
        sys.exit(f"data_producer: {error}")  # exit code 1
    sys.exit(0 if all(done) else 1)


if __name__ == "__main__":
    main()
