-- Removes up to $1 expired entries; says how many went.
--
-- Relies on the partial index on expires_at. SKIP LOCKED: an entry that is being
-- written is left to its writer, and two sweepers share the work.
WITH expired AS MATERIALIZED (
    SELECT bucket, key_head, key_tail_digest, revision
    FROM entries
    WHERE expires_at <= now()
    ORDER BY expires_at
    LIMIT $1
    FOR UPDATE SKIP LOCKED
)
SELECT count(*) FILTER (WHERE delete_entry(bucket, key_head, key_tail_digest, revision)) AS removed
FROM expired
