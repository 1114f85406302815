-- Buckets, entries and the sequence of revisions.

-- Every write draws its revision here while it holds the row's lock, so the
-- revisions of one key only grow, also across delete and recreate. The cache
-- stays at 1: a session that drew ahead would hand out numbers too late.
CREATE SEQUENCE revisions AS bigint CACHE 1;

-- Buckets made with `bucket create`. The others exist as long as they have
-- entries and have no row here.
CREATE TABLE buckets (
    -- Names the bucket's partition: entries_bucket_<id>.
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    -- Time to live of a write that does not bring one; null: for ever.
    default_ttl_seconds bigint CHECK (default_ttl_seconds > 0),
    -- Who dates a write: the client's If-Unmodified-Since or the server's clock.
    timestamps text NOT NULL DEFAULT 'client' CHECK (timestamps IN ('client', 'server')),
    -- Response fields of the same names; null: the server's setting.
    cache_control text,
    cdn_cache_control text,
    created_at timestamptz NOT NULL DEFAULT now()
);

-- The digest that tells long keys with the same head apart.
CREATE FUNCTION key_tail_digest(tail text) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT sha256(convert_to(tail, 'UTF8')) $$;

-- A key of 1,024 characters may take 4,096 bytes, and a B-tree entry ends at
-- 2,704. So the key is kept as its first 384 characters and the rest, and the
-- rest takes part in the primary key as a digest (of no bytes for a short key,
-- which costs one byte). (key_head, key_tail) sorts as the key itself does,
-- because every cut head has the same number of characters.
CREATE TABLE entries (
    bucket text COLLATE "C" NOT NULL,
    key_head text COLLATE "C" NOT NULL,
    key_tail text COLLATE "C" NOT NULL DEFAULT '',
    key_tail_digest bytea NOT NULL
        GENERATED ALWAYS AS (CASE WHEN key_tail = '' THEN ''::bytea ELSE key_tail_digest(key_tail) END) STORED,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    modified_at timestamptz NOT NULL,
    -- null: never. From this time on the entry is as good as absent.
    expires_at timestamptz,
    -- What the last write did, and to modified_at:
    --   1 created, dated now            4 replaced, date kept
    --   2 created, dated by the client  5 replaced, date moved to a later second
    --   3 created, dated by the server  6 replaced, date set to the same second
    -- Last-Modified tells this value from the one before it except in 4 and 6.
    last_write smallint NOT NULL CHECK (last_write BETWEEN 1 AND 6),
    content_type text NOT NULL,
    content_encoding text,
    data bytea NOT NULL,
    PRIMARY KEY (bucket, key_head, key_tail_digest)
) PARTITION BY LIST (bucket);

-- Values are often compressed already, and parts of large ones are read with
-- substring(), which is only cheap on uncompressed out-of-line values.
ALTER TABLE entries ALTER COLUMN data SET STORAGE EXTERNAL;

-- Only entries that can expire are in this index.
CREATE INDEX entries_expires_at ON entries (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE entries_default PARTITION OF entries DEFAULT PARTITION BY HASH (key_head);

-- The fill factor leaves room for an update of the row on its own page.
DO $$
BEGIN
    FOR remainder IN 0..7 LOOP
        EXECUTE format(
            'CREATE TABLE entries_default_%s PARTITION OF entries_default'
            ' FOR VALUES WITH (MODULUS 8, REMAINDER %s) WITH (fillfactor = 85)',
            remainder, remainder);
    END LOOP;
END
$$;

-- Deletes one entry if it is still the given revision. A function, because the
-- planner may join a DELETE with its input in either order and keeps the choice
-- it made while the table was empty; inside, every column of the key is given.
CREATE FUNCTION delete_entry(
    of_bucket text, head text, tail_digest bytea, of_revision bigint
) RETURNS boolean LANGUAGE plpgsql VOLATILE
    AS $$
BEGIN
    DELETE FROM lacquer.entries AS e
    WHERE e.bucket = of_bucket AND e.key_head = head
        AND e.key_tail_digest = tail_digest AND e.revision = of_revision;
    RETURN FOUND;
END
$$;
