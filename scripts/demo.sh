#!/bin/sh
# Shows how a file is ingested:
# - The file is served over HTTP and submitted to a queue.
# - A worker streams it through a plugin.
# - The output is committed with a receipt.
# - The queue gets another plugin while the worker runs.
#
# The queue is embedded (a SQLite file), or on the server that REDIS_URL or REDIS_HOST names. All files are in
# target/demo. A run removes nothing that is there: you may have gone on with the queue of an earlier run.
set -eu
cd "$(dirname "$0")/.."

RECORDS=20000
SEED=7
BAD_PERCENT=3
SECONDS_MAX=120 # the time limit of one step

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$(printf '\033[1m') plain=$(printf '\033[0m')
else
    bold='' plain=''
fi

feed='' worker=''

stop_all() {
    for process in $worker $feed; do
        kill "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    worker='' feed=''
}
trap stop_all EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

step() { printf '\n%s== %s%s\n' "$bold" "$1" "$plain"; }
say() { printf '%s\n' "$@"; }
show() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; }
run() {
    show "$@"
    "$@"
}
indent() { sed 's/^/    /'; }
show_rows() { # FILE
    show "head -n 4 $1"
    head -n 4 "$1" | indent
}
fail() {
    printf '\n%s\n' "$@" >&2
    if [ -s "$DEMO/worker.log" ]; then
        printf 'The end of the log of the worker:\n' >&2
        tail -n 20 "$DEMO/worker.log" >&2
    fi
    exit 1
}

# Waits until a background process ends. Fails if the process fails, or if the time is over. Also fails if the worker
# ends, because the process waits for the worker.
wait_for() { # PROCESS WHAT
    tries=0
    while kill -0 "$1" 2>/dev/null; do
        tries=$((tries + 1))
        if ! kill -0 "$worker" 2>/dev/null || [ "$tries" -gt $((SECONDS_MAX * 5)) ]; then
            kill "$1" 2>/dev/null || true
            fail "$2: not done, and the worker has ended or takes too long."
        fi
        sleep 0.2
    done
    wait "$1" || fail "$2: failed."
}

# Prints the last member with this name in the receipt of a request. The member is a number or a text.
member() { # ID NAME
    tr -d '\n' <"$RECEIPTS/$1.json" | sed -n 's/.*"'"$2"'": *"\{0,1\}\([^",}]*\).*/\1/p'
}

sha256_of() { { sha256sum "$1" 2>/dev/null || shasum -a 256 "$1"; } | cut -d ' ' -f 1; }

# --- Build

[ -d target/release ] || say "The first build compiles the host with its WebAssembly compiler and takes some minutes;" \
    "the next ones take seconds."
say "Building the host, the plugins and a feed of sample alarms ..."
cargo build --locked --release -p ingest-host -p alarm-feed
cargo build --locked --release -p clean -p alarms --target wasm32-wasip2

TARGET=$(cargo metadata --locked --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
TARGET=${TARGET#"$PWD"/}
PLUGINS=$TARGET/wasm32-wasip2/release
DEMO=$TARGET/demo
case $TARGET in
/*) ABSOLUTE=$TARGET ;;
*) ABSOLUTE=$PWD/$TARGET ;;
esac
PATH=$ABSOLUTE/release:$PATH
export PATH
mkdir -p "$DEMO"
rm -f "$DEMO/feed.url" "$DEMO/feed.log" "$DEMO/worker.log"

# --- The address of the queue

RUN=$(date +%H%M%S)
QUEUE=bigdatastudy
if [ -z "${REDIS_URL:-}${REDIS_HOST:-}" ]; then
    # The path is absolute, so that the address also holds in another folder.
    REDIS_URL=sqlite:$ABSOLUTE/demo/queue.db
    export REDIS_URL
fi
# The server can already have a queue with this name. If the server does not answer, the first command after this check
# reports it.
if ingest-host queue list --json 2>/dev/null | grep -q '"queue": *"'"$QUEUE"'"'; then
    say '' "There is a queue $QUEUE already. It stays as it is: the demo takes a queue of its own."
    QUEUE=$QUEUE-demo-$RUN
fi
OUT=$DEMO/out/$QUEUE
RECEIPTS=$DEMO/out/_ingest/$QUEUE/receipts

# --- The demo

step "1. A file somewhere: $RECORDS alarms of base stations, some of them bad, served over HTTP"
show "alarm-feed serve --records $RECORDS --seed $SEED --bad-percent $BAD_PERCENT &"
alarm-feed serve --records $RECORDS --seed $SEED --bad-percent $BAD_PERCENT >"$DEMO/feed.url" 2>"$DEMO/feed.log" &
feed=$!
tries=0
until [ -s "$DEMO/feed.url" ]; do
    tries=$((tries + 1))
    if ! kill -0 "$feed" 2>/dev/null || [ "$tries" -gt $((SECONDS_MAX * 5)) ]; then
        fail "alarm-feed does not serve: $(cat "$DEMO/feed.log")"
    fi
    sleep 0.2
done
URL=$(cat "$DEMO/feed.url")
{ cat "$DEMO/feed.url" "$DEMO/feed.log" && alarm-feed generate --records 3 --seed $SEED --bad-percent 0 2>/dev/null; } |
    indent

step "2. What happens to a file of the queue $QUEUE: the plugin \`clean\`, which needs a config and no code"
say "A plugin is a WebAssembly component. It goes to the queue's server, and a binding ties it to the queue."
case ${REDIS_URL:-} in sqlite:*) show "export REDIS_URL=$REDIS_URL" ;; esac
run ingest-host plugin push "$PLUGINS/clean.wasm"
run ingest-host plugin bind --queue "$QUEUE" clean@0.1.0 --config @examples/alarms.clean.json

step "3. A producer submits the file, and a worker does what is in the queue"
FIRST=alarms-$RUN-1
run ingest-host submit --queue "$QUEUE" --uri "$URL" --id "$FIRST"
say "The worker may reach the address because of --allow-host; by default it reaches only public addresses."
run ingest-host run --queue "$QUEUE" --burst --profile --allow-host 127.0.0.1 --output "$DEMO/out"
[ -s "$RECEIPTS/$FIRST.json" ] || fail "There is no receipt: $(ingest-host status "$FIRST" 2>&1)"
say '' "Every record is accounted for: in the output, or among the rejects with the reason:"
run ingest-host status "$FIRST"
say '' "Times are in ISO 8601 now, and 999999, which means \"not set\", is gone:"
show_rows "$OUT/$FIRST.csv"
say '' "The rejects and their reasons, and (with --profile) a profile of the output:"
run ingest-host report "$FIRST"

step "4. The swap: another plugin takes over while a worker runs"
show "ingest-host run --queue $QUEUE --allow-host 127.0.0.1 --output $DEMO/out &"
ingest-host run --queue "$QUEUE" --allow-host 127.0.0.1 --output "$DEMO/out" 2>"$DEMO/worker.log" &
worker=$!
submit_and_wait() { # ID
    show "ingest-host submit --queue $QUEUE --uri $URL --id $1 --wait"
    ingest-host submit --queue "$QUEUE" --uri "$URL" --id "$1" --wait &
    wait_for $! "request $1"
}
BEFORE=alarms-$RUN-2 AFTER=alarms-$RUN-3
submit_and_wait "$BEFORE"
say '' "Now \`alarms\`, which was written for these files: it knows that an alarm can't end before it starts, and adds" \
    "how long it took. The worker isn't told; it sees the new binding when it claims the next request."
run ingest-host plugin push "$PLUGINS/alarms.wasm"
run ingest-host plugin bind --queue "$QUEUE" alarms@0.1.0
submit_and_wait "$AFTER"
say '' "The same file, the same worker, another plugin:"
printf '    %-18s %-8s %-14s %9s %9s   %s\n' request binding plugin written rejected worker
for id in "$BEFORE" "$AFTER"; do
    printf '    %-18s %-8s %-14s %9s %9s   %s\n' "$id" "$(member "$id" binding)" \
        "$(tr -d '\n' <"$RECEIPTS/$id.json" |
            sed 's/.*"plugin": *{ *"name": *"\([^"]*\)", *"version": *"\([^"]*\)".*/\1@\2/')" \
        "$(member "$id" written)" "$(member "$id" rejected)" "$(member "$id" worker)"
done
show_rows "$OUT/$AFTER.csv"
say '' "The rejects now:"
run ingest-host report "$AFTER"
say '' "One command rolls the queue back to the old plugin:"
run ingest-host plugin rollback --queue "$QUEUE"
run ingest-host plugin history --queue "$QUEUE"

step "5. The receipt: of what the output was made, and how to check it"
run sed '/"examples"/q' "$RECEIPTS/$AFTER.json"
say ''
digest=$(sha256_of "$OUT/$AFTER.csv")
show "sha256sum $OUT/$AFTER.csv"
say "    $digest"
grep -q "$digest" "$RECEIPTS/$AFTER.json" || fail "The receipt has another digest for the output."
say "The receipt contains the same digest, so it belongs to this output."
run ingest-host queue audit --queue "$QUEUE"
show "kill $worker"
kill "$worker"
wait "$worker" || fail "The worker did not end well."
worker=''
say "The worker has finished its requests and stopped."

say '' "${bold}Done.${plain} All files are in $OUT. \`rm -r $DEMO\` removes all demos, with their queue file." \
    "To go on by hand:" \
    "    export PATH=\"$ABSOLUTE/release:\$PATH\""
case ${REDIS_URL:-} in sqlite:*) say "    export REDIS_URL=\"$REDIS_URL\"     # the queue of this demo" ;; esac
say \
    "    ingest-host ingest FILE.csv --plugin $PLUGINS/alarms.wasm" \
    "    ingest-host --help"
