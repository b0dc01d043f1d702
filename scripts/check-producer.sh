#!/bin/sh
# Checks that examples/data_producer.py works with the host: against a Redis and a worker of its own, with redis-py
# from a virtual environment. Needs python3, redis-server and what `make demo` built.
set -eu
cd "$(dirname "$0")/.."

TARGET=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
HERE=$TARGET/check-producer
PATH=$TARGET/release:$PATH
QUEUE=producers
processes=''
stop_all() {
    for process in $processes; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

until_true() { # WHAT COMMAND...: within 10 seconds
    what=$1 tries=0
    shift
    until "$@" >/dev/null 2>&1; do
        tries=$((tries + 1))
        [ "$tries" -le 50 ] || fail "$what: not within 10 seconds"
        sleep 0.2
    done
}

rm -rf "$HERE"
mkdir -p "$HERE"
python3 -m venv "$HERE/venv"
"$HERE/venv/bin/pip" install --quiet --disable-pip-version-check redis

REDIS_HOST=127.0.0.1 REDIS_PORT=$((20000 + $$ % 20000))
export REDIS_HOST REDIS_PORT
unset REDIS_URL REDIS_PASSWORD
redis-server --port "$REDIS_PORT" --bind "$REDIS_HOST" --save '' --dir "$HERE" >"$HERE/redis.log" 2>&1 &
processes="$processes $!"
until_true "redis-server" redis-cli -p "$REDIS_PORT" ping
alarm-feed serve --records 100 --bad-percent 5 >"$HERE/url" 2>"$HERE/feed.log" &
processes="$processes $!"
until_true "alarm-feed" test -s "$HERE/url"
URL=$(cat "$HERE/url")

ingest-host plugin push "$TARGET/wasm32-wasip2/release/alarms.wasm"
ingest-host plugin bind --queue "$QUEUE" alarms@0.1.0
ingest-host run --queue "$QUEUE" --allow-host 127.0.0.1 --output "$HERE/out" 2>"$HERE/worker.log" &
processes="$processes $!"

produce() { # EXIT_CODE WORDS ARGUMENTS...: what the producer must end with, and what it must say
    code=0 expected=$1 words=$2
    shift 2
    "$HERE/venv/bin/python" examples/data_producer.py --queuename "$QUEUE" --timeout 60 "$@" >"$HERE/said" || code=$?
    cat "$HERE/said"
    [ "$code" -eq "$expected" ] || fail "data_producer.py $*: exit code $code, not $expected"
    grep -q "$words" "$HERE/said" || fail "data_producer.py $*: does not say \"$words\""
}
produce 0 "a-1: done: 100 read" --uri "$URL" --id a-1
produce 0 "a-1: done: 100 read" --uri "$URL" --id a-1
produce 0 "5 rejected" --uri "$URL" --uri "$URL"
produce 1 "a-2: dead: fetch" --uri "${URL%/*}/missing.csv" --id a-2
produce 1 "../a-3: invalid: .*must have" --uri "$URL" --id ../a-3
ingest-host queue audit --queue "$QUEUE"
echo "data_producer.py works with the host"
