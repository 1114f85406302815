-- The whole schema, as the migrations in migrations/ make it; a test compares the two.
-- Everything lives in the schema "lacquer".

CREATE TABLE migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

CREATE SEQUENCE revisions AS bigint CACHE 1;

CREATE TABLE buckets (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name text COLLATE "C" NOT NULL UNIQUE,
    default_ttl_seconds bigint CHECK (default_ttl_seconds > 0),
    timestamps text NOT NULL DEFAULT 'client' CHECK (timestamps IN ('client', 'server')),
    cache_control text,
    cdn_cache_control text,
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION key_tail_digest(tail text) RETURNS bytea
    LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
    AS $$ SELECT sha256(convert_to(tail, 'UTF8')) $$;

CREATE TABLE entries (
    bucket text COLLATE "C" NOT NULL,
    key_head text COLLATE "C" NOT NULL,
    key_tail text COLLATE "C" NOT NULL DEFAULT '',
    key_tail_digest bytea NOT NULL
        GENERATED ALWAYS AS (CASE WHEN key_tail = '' THEN ''::bytea ELSE key_tail_digest(key_tail) END) STORED,
    revision bigint NOT NULL,
    created_at timestamptz NOT NULL,
    modified_at timestamptz NOT NULL,
    expires_at timestamptz,
    last_write smallint NOT NULL CHECK (last_write BETWEEN 1 AND 6),
    content_type text NOT NULL,
    content_encoding text,
    data bytea NOT NULL,
    PRIMARY KEY (bucket, key_head, key_tail_digest)
) PARTITION BY LIST (bucket);

ALTER TABLE entries ALTER COLUMN data SET STORAGE EXTERNAL;

CREATE INDEX entries_expires_at ON entries (expires_at) WHERE expires_at IS NOT NULL;

CREATE TABLE entries_default PARTITION OF entries DEFAULT PARTITION BY HASH (key_head);
CREATE TABLE entries_default_0 PARTITION OF entries_default FOR VALUES WITH (MODULUS 8, REMAINDER 0) WITH (fillfactor = 85);
CREATE TABLE entries_default_1 PARTITION OF entries_default FOR VALUES WITH (MODULUS 8, REMAINDER 1) WITH (fillfactor = 85);
CREATE TABLE entries_default_2 PARTITION OF entries_default FOR VALUES WITH (MODULUS 8, REMAINDER 2) WITH (fillfactor = 85);
CREATE TABLE entries_default_3 PARTITION OF entries_default FOR VALUES WITH (MODULUS 8, REMAINDER 3) WITH (fillfactor = 85);
CREATE TABLE entries_default_4 PARTITION OF entries_default FOR VALUES WITH (MODULUS 8, REMAINDER 4) WITH (fillfactor = 85);
CREATE TABLE entries_default_5 PARTITION OF entries_default FOR VALUES WITH (MODULUS 8, REMAINDER 5) WITH (fillfactor = 85);
CREATE TABLE entries_default_6 PARTITION OF entries_default FOR VALUES WITH (MODULUS 8, REMAINDER 6) WITH (fillfactor = 85);
CREATE TABLE entries_default_7 PARTITION OF entries_default FOR VALUES WITH (MODULUS 8, REMAINDER 7) WITH (fillfactor = 85);

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
