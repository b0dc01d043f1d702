#!/bin/sh
# Checks that examples/data_producer.py works with the host. It uses a Redis server and a worker of its own, and
# redis-py in a virtual environment. It needs python3, redis-server, and the programs and plugins that `make demo`
# builds.
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

until_true() { # WHAT COMMAND...: waits up to 10 seconds until the command succeeds
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

produce() { # EXIT_CODE WORDS ARGUMENTS...: the expected exit code and output
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

# The host and the producer must read the same password from `.env`, with and without quotes and comments.
mkdir "$HERE/folder"
cp examples/data_producer.py "$HERE/folder"
cd "$HERE/folder"
agree() { # PASSWORD VALUE: the password that both must read if .env has this value
    redis-cli -p "$REDIS_PORT" config set requirepass "$1" >/dev/null
    printf 'REDIS_HOST=%s # here\r\nexport REDIS_PORT = "%s"\nREDIS_PASSWORD=%s\n' "$REDIS_HOST" "$REDIS_PORT" "$2" >.env
    chmod 600 .env
    host=$(env -u REDIS_HOST -u REDIS_PORT ingest-host status a-1 2>&1) || true
    producer=$(env -u REDIS_HOST -u REDIS_PORT "$HERE/venv/bin/python" data_producer.py --queuename "$QUEUE" --uri "$URL" --id a-1 2>&1) || true
    REDISCLI_AUTH=$1 redis-cli -p "$REDIS_PORT" config set requirepass '' >/dev/null
    case $host in *done*) ;; *) fail "$2: the host does not read $1: $host" ;; esac
    case $producer in *"a-1: done"*) ;; *) fail "$2: the producer does not read $1: $producer" ;; esac
}
agree '%41' '%41'
agree 'a$b\n$HOME' 'a$b\n$HOME'
agree 'a$b\n$HOME' "'a\$b\\n\$HOME' # quoted"
agree 'a$b\n$HOME' '"a$b\n$HOME"#quoted'
agree 'a#b\\' '"a#b\\"'
agree 'a#b' 'a#b #c'
agree "it's" '"it'"'"'s"'
agree 'x=y==' 'x=y=='
agree '' ' # none'
agree '' ' #none'
agree '#some' '#some'
echo "data_producer.py works with the host"
