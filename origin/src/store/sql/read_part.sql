-- A part of one revision's value, $5 bytes from byte $4 (counted from 0).
--
-- Relies on the primary key; the column's storage is EXTERNAL, so substring()
-- reads only the pieces that hold the part.
SELECT substring(data FROM $4::integer + 1 FOR $5::integer) AS data
FROM entries
WHERE bucket = $1 AND key_head = $2
    AND key_tail_digest = CASE WHEN $3::text = '' THEN ''::bytea ELSE key_tail_digest($3::text) END
    AND revision = $6
