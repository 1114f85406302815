-- One page of a bucket's keys in the order of their bytes, one key more than asked for.
--
-- $2 and $3: the first key's head may be this, and has to be below that (null: any);
-- $4 and $5: the key to continue after, as it is stored; $6: what every key starts with.
-- Relies on the primary key for bucket and key_head; only keys that share their first
-- 384 characters are sorted.
SELECT key_head || key_tail AS key
FROM entries
WHERE bucket = $1
    AND key_head >= $2 AND key_head < coalesce($3, repeat(chr(1114111), 385))
    AND (key_head, key_tail) > ($4, $5)
    AND starts_with(key_head || key_tail, $6)
    AND (expires_at IS NULL OR expires_at > now())
ORDER BY key_head, key_tail
LIMIT $7
