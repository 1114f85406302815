-- Raises an error unless 0001-create-entries.sql did what it says.
DO $$
DECLARE
    before bigint;
    after bigint;
BEGIN
    ASSERT (SELECT count(*) FROM pg_inherits WHERE inhparent = 'entries_default'::regclass) = 8,
        'the default partition is split in eight';

    before := nextval('revisions');
    after := nextval('revisions');
    ASSERT after = before + 1, 'revisions are drawn one by one';

    INSERT INTO entries (bucket, key_head, revision, created_at, modified_at, last_write, content_type, data)
    VALUES ('b', 'k', after, now(), now(), 1, 'text/plain', 'x');
    ASSERT (SELECT key_tail_digest = '' FROM entries WHERE key_head = 'k'), 'a short key has no digest';
    BEGIN
        INSERT INTO entries (bucket, key_head, revision, created_at, modified_at, last_write, content_type, data)
        VALUES ('b', 'k', after, now(), now(), 1, 'text/plain', 'x');
        RAISE 'a key was stored twice';
    EXCEPTION WHEN unique_violation THEN
        NULL;
    END;

    -- The longest names there can be, of random characters that do not compress.
    INSERT INTO entries (bucket, key_head, key_tail, revision, created_at, modified_at, last_write, content_type, data)
    SELECT
        (SELECT string_agg(chr(65536 + (random() * 60000)::integer), '') FROM generate_series(1, 256)),
        (SELECT string_agg(chr(65536 + (random() * 60000)::integer), '') FROM generate_series(1, 384)),
        (SELECT string_agg(chr(65536 + (random() * 60000)::integer), '') FROM generate_series(1, 640)),
        1, now(), now(), 1, 'text/plain', 'x';

    ASSERT NOT delete_entry('b', 'k', '', after + 1), 'another revision is not deleted';
    ASSERT delete_entry('b', 'k', '', after), 'the given revision is deleted';
    ASSERT NOT EXISTS (SELECT FROM entries WHERE key_head = 'k'), 'it is gone';
END
$$;
