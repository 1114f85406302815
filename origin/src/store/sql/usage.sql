-- Keys and bytes of each bucket that has entries. Reads every entry's row (not its
-- out-of-line value), for an operator's eyes.
SELECT bucket, count(*) AS keys, coalesce(sum(octet_length(data)), 0)::bigint AS bytes
FROM entries
WHERE expires_at IS NULL OR expires_at > now()
GROUP BY bucket
ORDER BY bucket
LIMIT $1
