-- Writes and deletes of one bucket with conditions (RFC 9110 §13.2.2).
--
-- $1 the bucket, then one element per write, distinct keys. Relies on the
-- primary key (bucket, key_head, key_tail_digest); OFFSET 0 makes the planner
-- look up key by key. `judged` takes each row's lock, reads its latest version
-- and decides; the writes obey under the same lock, so of two writers with the
-- same If-Match one wins. A row that another connection creates meanwhile is not
-- there to be locked: ON CONFLICT finds it by its other revision and leaves it,
-- and the write comes back as 'raced' to be run again.
WITH judged AS MATERIALIZED (
    SELECT
        i.*, e.revision, e.modified_at, coalesce(e.live, false) AS live,
        CASE
            WHEN e.live THEN CASE
                WHEN NOT (i.if_match IS NULL OR i.if_match = '*'
                        OR e.revision = ANY (nullif(i.if_match, '*')::bigint[]))
                    THEN 'rejected'
                WHEN i.if_match IS NULL AND date_trunc('second', e.modified_at) > i.unmodified_since
                    THEN 'rejected'
                WHEN i.if_none_match = '*' OR e.revision = ANY (nullif(i.if_none_match, '*')::bigint[])
                    THEN 'rejected'
                WHEN i.deletes THEN 'deleted'
                ELSE 'updated' END
            -- Nothing is there: a delete is a 404 whatever a list says
            -- (RFC 9110 §13.2.1), yet "*" asks for something to be there.
            WHEN i.if_match IS NOT NULL AND NOT (i.deletes AND i.if_match <> '*') THEN 'rejected'
            WHEN i.deletes THEN 'missing'
            -- An expired entry that is still on disk makes room in place.
            WHEN e.revision IS NOT NULL THEN 'revived'
            ELSE 'inserted'
        END AS verdict
    FROM (
        SELECT
            w.*, CASE WHEN w.key_tail = '' THEN ''::bytea ELSE key_tail_digest(w.key_tail) END AS digest
        FROM unnest(
            $2::text[], $3::text[], $4::boolean[], $5::text[], $6::text[], $7::timestamptz[],
            $8::timestamptz[], $9::bigint[], $10::boolean[], $11::smallint[], $12::text[],
            $13::text[], $14::bytea[]
        ) WITH ORDINALITY AS w (
            key_head, key_tail, deletes, if_match, if_none_match, unmodified_since,
            dated, ttl_seconds, keeps_expiry, last_write, content_type,
            content_encoding, data, n
        )
    ) AS i
    LEFT JOIN LATERAL (
        SELECT revision, modified_at, expires_at, coalesce(expires_at > now(), true) AS live
        FROM entries
        WHERE bucket = $1 AND key_head = i.key_head AND key_tail_digest = i.digest
        OFFSET 0
        FOR UPDATE
    ) AS e ON true
), written AS (
    INSERT INTO entries AS e (
        bucket, key_head, key_tail, revision, created_at, modified_at, expires_at,
        last_write, content_type, content_encoding, data
    )
    SELECT
        $1, j.key_head, j.key_tail,
        -- To an update this is the revision that was judged.
        CASE WHEN j.verdict = 'inserted' THEN nextval('revisions') ELSE j.revision END,
        now(), coalesce(j.dated, now()),
        -- To an update -infinity says that the expiry stays.
        CASE
            WHEN j.verdict = 'updated' AND j.keeps_expiry THEN '-infinity'
            ELSE now() + j.ttl_seconds * interval '1 second' END,
        j.last_write, j.content_type, j.content_encoding, j.data
    FROM judged AS j
    WHERE j.verdict IN ('inserted', 'updated', 'revived')
    ON CONFLICT (bucket, key_head, key_tail_digest) DO UPDATE SET
        revision = nextval('revisions'),
        created_at = CASE WHEN e.expires_at <= now() THEN now() ELSE e.created_at END,
        -- A date that If-Match let pass never turns modified_at back.
        modified_at = CASE
            WHEN e.expires_at <= now() THEN EXCLUDED.modified_at
            -- Not now(), which is when the transaction began: that may be before the last write.
            WHEN EXCLUDED.last_write = 3 THEN clock_timestamp()
            WHEN EXCLUDED.last_write = 2 AND EXCLUDED.modified_at >= date_trunc('second', e.modified_at)
                THEN EXCLUDED.modified_at
            ELSE e.modified_at END,
        expires_at = CASE
            WHEN EXCLUDED.expires_at = '-infinity' THEN e.expires_at
            ELSE EXCLUDED.expires_at END,
        last_write = CASE
            WHEN e.expires_at <= now() THEN EXCLUDED.last_write
            WHEN EXCLUDED.last_write = 1 OR EXCLUDED.modified_at < date_trunc('second', e.modified_at) THEN 4
            WHEN date_trunc('second', EXCLUDED.modified_at) > date_trunc('second', e.modified_at) THEN 5
            ELSE 6 END,
        content_type = EXCLUDED.content_type,
        content_encoding = EXCLUDED.content_encoding,
        data = EXCLUDED.data
    WHERE e.revision = EXCLUDED.revision
    RETURNING e.key_head, e.key_tail, e.revision, e.modified_at
), deleted AS MATERIALIZED (
    SELECT j.n, delete_entry($1, j.key_head, j.digest, j.revision) AS done
    FROM judged AS j
    WHERE j.verdict = 'deleted'
)
SELECT
    j.n,
    CASE
        WHEN j.verdict IN ('inserted', 'updated', 'revived') AND w.revision IS NULL THEN 'raced'
        WHEN j.verdict = 'deleted' AND NOT d.done THEN 'raced'
        WHEN j.verdict = 'revived' THEN 'inserted'
        ELSE j.verdict END AS outcome,
    coalesce(w.revision, CASE WHEN j.live THEN j.revision END) AS revision,
    coalesce(w.modified_at, CASE WHEN j.live THEN j.modified_at END) AS modified_at
FROM judged AS j
LEFT JOIN written AS w ON w.key_head = j.key_head AND w.key_tail = j.key_tail
LEFT JOIN deleted AS d ON d.n = j.n
