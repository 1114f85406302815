-- Unconditional writes and writes that only the client's date decides.
--
-- One row per write, distinct keys. Relies on the primary key
-- (bucket, key_head, key_tail_digest); ON CONFLICT locks the row before the
-- condition and the revision are evaluated, so of two writers each sees the
-- other's result. Tuple routing touches only the partitions of its rows.
--
-- last_write tells the update what the client sent: 1 nothing, 2 a date,
-- 3 the bucket is dated by the server. A row that comes back with 1, 2 or 3 was
-- created; one that does not come back was rejected.
INSERT INTO entries AS e (
    bucket, key_head, key_tail, revision, created_at, modified_at, expires_at,
    last_write, content_type, content_encoding, data
)
SELECT
    w.bucket, w.key_head, w.key_tail, nextval('revisions'), now(), coalesce(w.dated, now()),
    now() + w.ttl_seconds * interval '1 second',
    w.last_write, w.content_type, w.content_encoding, w.data
FROM unnest(
    $1::text[], $2::text[], $3::text[], $4::timestamptz[], $5::bigint[],
    $6::smallint[], $7::text[], $8::text[], $9::bytea[]
) AS w (bucket, key_head, key_tail, dated, ttl_seconds, last_write, content_type, content_encoding, data)
ON CONFLICT (bucket, key_head, key_tail_digest) DO UPDATE SET
    revision = nextval('revisions'),
    created_at = CASE WHEN e.expires_at <= now() THEN EXCLUDED.created_at ELSE e.created_at END,
    modified_at = CASE
        WHEN e.expires_at <= now() OR EXCLUDED.last_write = 2 THEN EXCLUDED.modified_at
        -- Not now(), which is when the transaction began: that may be before the last write.
        WHEN EXCLUDED.last_write = 3 THEN clock_timestamp()
        ELSE e.modified_at END,
    expires_at = EXCLUDED.expires_at,
    last_write = CASE
        WHEN e.expires_at <= now() THEN EXCLUDED.last_write
        WHEN EXCLUDED.last_write = 1 THEN 4
        WHEN date_trunc('second', EXCLUDED.modified_at) > date_trunc('second', e.modified_at) THEN 5
        ELSE 6 END,
    content_type = EXCLUDED.content_type,
    content_encoding = EXCLUDED.content_encoding,
    data = EXCLUDED.data
WHERE e.expires_at <= now()
    OR EXCLUDED.last_write <> 2
    OR date_trunc('second', e.modified_at) <= EXCLUDED.modified_at
RETURNING bucket, key_head, key_tail, revision, modified_at, last_write
