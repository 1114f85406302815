#!/usr/bin/env bash
# Compares lacquer-origin with what its PostgreSQL can do alone, on one cluster, in interleaved rounds:
#   1 KiB PUTs to random keys     against   pgbench -M prepared with the same upsert
#   GETs of random keys           against   pgbench -M prepared with the same select
# Everything shares this machine's cores, the load generators too. Prints each round, the medians and the ratios.
#
# Usage: load-tests/origin-vs-pgbench.sh
#   ORIGIN=target/release/lacquer-origin  ROUNDS=5  SECONDS_EACH=8  CONNECTIONS=64  KEYS=100000
#   PG_BIN=/usr/lib/postgresql/15/bin     CONFIG=lacquer.toml   ORIGIN_ARGUMENTS="..."
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

origin=${ORIGIN:-target/release/lacquer-origin}
rounds=${ROUNDS:-5}
seconds=${SECONDS_EACH:-8}
connections=${CONNECTIONS:-64}
keys=${KEYS:-100000}
pg_bin=${PG_BIN:-$(ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1)}
work=$(mktemp -d /tmp/origin-vs-pgbench.XXXXXX)
origin_pid= pg_running=

# PostgreSQL refuses to run as root.
as_server=()
if [[ $EUID -eq 0 ]]; then
    as_server=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    chown postgres "$work"
fi

finish() {
    if [[ -n $origin_pid ]]; then kill "$origin_pid" 2>/dev/null || true; wait "$origin_pid" 2>/dev/null || true; fi
    if [[ -n $pg_running ]]; then (cd "$work" && "${as_server[@]}" "$pg_bin/pg_ctl" -D "$work/data" -m fast -w stop >/dev/null) || true; fi
    rm -rf "$work"
}
trap finish EXIT

(cd "$work" && "${as_server[@]}" "$pg_bin/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C.UTF-8 >/dev/null)
(cd "$work" && "${as_server[@]}" "$pg_bin/pg_ctl" -D "$work/data" -l "$work/log" -w start >/dev/null \
    -o "-c listen_addresses='' -c unix_socket_directories=$work -c shared_buffers=512MB -c max_wal_size=4GB -c max_connections=200")
pg_running=yes
psql=("$pg_bin/psql" -h "$work" -U postgres -X -q -v ON_ERROR_STOP=1)
"${psql[@]}" -c "CREATE DATABASE bench"

cat >"$work/lacquer.toml" <<'TOML'
[origin]
metrics_address = ""
TOML
port=$((20000 + RANDOM % 10000))
# shellcheck disable=SC2086
LACQUER_LOG=warn "$origin" --config "${CONFIG:-$work/lacquer.toml}" --listen "127.0.0.1:$port" \
    --dsn "host=$work user=postgres dbname=bench" ${ORIGIN_ARGUMENTS:-} &
origin_pid=$!
for _ in $(seq 100); do curl -sf "http://127.0.0.1:$port/ready" >/dev/null && break; sleep 0.1; done

"${psql[@]}" -d bench -c "INSERT INTO lacquer.entries
    (bucket, key_head, revision, created_at, modified_at, last_write, content_type, data)
    SELECT 'bench', 'key-' || n, nextval('lacquer.revisions'), now(), now(), 1, 'text/plain; charset=utf-8',
        convert_to(repeat('v', 1024), 'UTF8') FROM generate_series(1, $keys) AS n" -c "VACUUM ANALYZE lacquer.entries"

cat >"$work/upsert.sql" <<'SQL'
\set n random(1, :keys)
INSERT INTO lacquer.entries AS e (bucket, key_head, key_tail, revision, created_at, modified_at, expires_at, last_write, content_type, content_encoding, data) VALUES ('bench', 'key-' || :n, '', nextval('lacquer.revisions'), now(), now(), NULL, 1, 'text/plain; charset=utf-8', NULL, convert_to(:value, 'UTF8')) ON CONFLICT (bucket, key_head, key_tail_digest) DO UPDATE SET revision = nextval('lacquer.revisions'), expires_at = EXCLUDED.expires_at, last_write = 4, content_type = EXCLUDED.content_type, content_encoding = EXCLUDED.content_encoding, data = EXCLUDED.data RETURNING revision, modified_at;
SQL
cat >"$work/select.sql" <<'SQL'
\set n random(1, :keys)
SELECT revision, modified_at, last_write, content_type, content_encoding, data FROM lacquer.entries WHERE bucket = 'bench' AND key_head = 'key-' || :n AND key_tail_digest = '' AND (expires_at IS NULL OR expires_at > now());
SQL
cat >"$work/put.lua" <<LUA
local value = string.rep("v", 1024)
local threads = 0
function setup(thread) thread:set("seed", os.time() + threads); threads = threads + 1 end
function init() math.randomseed(seed); wrk.headers["Content-Type"] = "text/plain; charset=utf-8" end
function request() return wrk.format("PUT", "/kv/bench/key-" .. math.random(1, $keys), nil, value) end
LUA
cat >"$work/get.lua" <<LUA
local threads = 0
function setup(thread) thread:set("seed", os.time() + threads); threads = threads + 1 end
function init() math.randomseed(seed) end
function request() return wrk.format("GET", "/kv/bench/key-" .. math.random(1, $keys)) end
LUA

pgbench_rate() {
    "$pg_bin/pgbench" -h "$work" -U postgres -n -M prepared -c "$connections" -j 2 -T "$seconds" \
        -D keys="$keys" -D value="$(printf 'v%.0s' $(seq 1024))" -f "$work/$1.sql" bench 2>/dev/null |
        awk '/^tps/ { print int($3) }'
}
wrk_rate() {
    local out
    out=$(wrk -t 2 -c "$connections" -d "${seconds}s" -s "$work/$1.lua" "http://127.0.0.1:$port")
    if grep -q 'Non-2xx\|Socket errors' <<<"$out"; then echo "$out" >&2; fi
    awk '/^Requests\/sec/ { print int($2) }' <<<"$out"
}
median() { tr ' ' '\n' <<<"$*" | sort -n | awk '{ v[NR] = $1 } END { print v[int((NR + 1) / 2)] }'; }

echo "$(nproc) cores, PostgreSQL $("$pg_bin/postgres" --version | awk '{ print $3 }'), $connections connections, $rounds rounds of $seconds s, $keys keys of 1 KiB"
wrk_rate get >/dev/null
upserts=() puts=() selects=() gets=()
for round in $(seq "$rounds"); do
    upserts+=("$(pgbench_rate upsert)"); puts+=("$(wrk_rate put)")
    selects+=("$(pgbench_rate select)"); gets+=("$(wrk_rate get)")
    echo "round $round: pgbench upsert ${upserts[-1]}/s, PUT ${puts[-1]}/s; pgbench select ${selects[-1]}/s, GET ${gets[-1]}/s"
done
awk -v put="$(median "${puts[@]}")" -v upsert="$(median "${upserts[@]}")" \
    -v get="$(median "${gets[@]}")" -v select_rate="$(median "${selects[@]}")" 'BEGIN {
    printf "PUT %d/s against %d/s: %.2f (at least 0.80 is wanted)\n", put, upsert, put / upsert
    printf "GET %d/s against %d/s: %.2f (at least 1.00 is wanted)\n", get, select_rate, get / select_rate }'
