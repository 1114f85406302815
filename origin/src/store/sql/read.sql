-- Entries of one bucket by key; the read of every GET and HEAD.
--
-- $1 the bucket, which prunes the partitions when the statement starts; one row
-- per key asked for that is there. Relies on the primary key
-- (bucket, key_head, key_tail_digest); OFFSET 0 makes the planner look up key
-- by key, whatever it knows of the table. A value above $4 bytes is announced
-- by its size and read apart, so that a batch stays small.
SELECT
    w.n, e.revision, e.modified_at, e.last_write, e.content_type, e.content_encoding,
    e.data_bytes, e.data, e.expires_in_seconds
FROM unnest($2::text[], $3::text[]) WITH ORDINALITY AS w (key_head, key_tail, n)
CROSS JOIN LATERAL (
    SELECT
        revision, modified_at, last_write, content_type, content_encoding,
        octet_length(data) AS data_bytes,
        CASE WHEN octet_length(data) <= $4::integer THEN data END AS data,
        extract(epoch FROM expires_at - now())::double precision AS expires_in_seconds
    FROM entries
    WHERE bucket = $1 AND key_head = w.key_head
        AND key_tail_digest = CASE WHEN w.key_tail = '' THEN ''::bytea ELSE key_tail_digest(w.key_tail) END
        AND (expires_at IS NULL OR expires_at > now())
    OFFSET 0
) AS e
