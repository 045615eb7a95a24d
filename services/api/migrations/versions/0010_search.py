"""Full-text search: languages without accents, and the functions that search indexes are made of.

Indexes are made of these functions and configurations: what is to answer otherwise needs another
name, by which the worker knows that the indexes have to be made anew. All names are written with
their schemas, since a restore runs with an empty search_path.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# A database that has the extension already may have it in any schema. PostgreSQL trusts owners of
# databases with it; the files are in the package postgresql-contrib of some systems.
_EXTENSION = """
    DO $$
    BEGIN
        IF NOT EXISTS (SELECT FROM pg_extension WHERE extname = 'unaccent') THEN
            CREATE EXTENSION unaccent WITH SCHEMA listo;
        END IF;
    EXCEPTION
        WHEN feature_not_supported OR undefined_file THEN
            RAISE EXCEPTION 'Search needs the extension unaccent, which this server lacks: '
                'install PostgreSQL''s contrib package there, postgresql-contrib for example.';
        WHEN insufficient_privilege THEN
            RAISE EXCEPTION 'Search needs the extension unaccent, and % may not create it: let a '
                'superuser run CREATE EXTENSION unaccent, or grant CREATE on the database.',
                current_user;
    END
    $$
"""

# Those of PostgreSQL 17, whichever later version this is.
_NAMES = (
    "simple", "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "finnish",
    "french", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian",
    "lithuanian", "nepali", "norwegian", "portuguese", "romanian", "russian", "serbian", "spanish",
    "swedish", "tamil", "turkish", "yiddish",
)  # fmt: skip
# A language's stop words come before the accents go: `für` is one, `fur` is none. ASCII has no
# accents.
_LANGUAGES = f"""
    DO $$
    DECLARE
        found record;
        dictionaries text;
    BEGIN
        IF EXISTS (
            SELECT FROM pg_ts_dict
            WHERE dictname = 'unaccented' AND dictnamespace = 'listo'::regnamespace
        ) THEN
            RETURN;
        END IF;
        EXECUTE format(
            'CREATE TEXT SEARCH DICTIONARY listo.unaccented'
            ' (TEMPLATE = %s.unaccent, RULES = unaccent)',
            (SELECT extnamespace::regnamespace FROM pg_extension WHERE extname = 'unaccent'));
        FOR found IN
            SELECT c.cfgname AS name, d.dictname AS stemmer,
                   substring(d.dictinitoption FROM 'stopwords = ''(\\w+)''') AS stopwords
            FROM pg_catalog.pg_ts_config c
            JOIN pg_catalog.pg_ts_config_map m ON m.mapcfg = c.oid AND m.mapseqno = 1
            JOIN pg_catalog.ts_token_type('pg_catalog.default') t
              ON t.tokid = m.maptokentype AND t.alias = 'word'
            JOIN pg_catalog.pg_ts_dict d ON d.oid = m.mapdict
            WHERE c.cfgnamespace = 'pg_catalog'::regnamespace
              AND c.cfgname = ANY ('{{{", ".join(_NAMES)}}}')
        LOOP
            dictionaries := format('listo.unaccented, pg_catalog.%I', found.stemmer);
            IF found.stopwords IS NOT NULL THEN
                EXECUTE format(
                    'CREATE TEXT SEARCH DICTIONARY listo.%I'
                    ' (TEMPLATE = pg_catalog.simple, STOPWORDS = %I, ACCEPT = false)',
                    found.name || '_stop', found.stopwords);
                dictionaries := format('listo.%I, ', found.name || '_stop') || dictionaries;
            END IF;
            EXECUTE format(
                'CREATE TEXT SEARCH CONFIGURATION listo.%I (COPY = pg_catalog.%I)',
                found.name, found.name);
            EXECUTE format(
                'ALTER TEXT SEARCH CONFIGURATION listo.%I'
                ' ALTER MAPPING FOR word, hword, hword_part WITH %s', found.name, dictionaries);
        END LOOP;
        CREATE TEXT SEARCH CONFIGURATION listo.cjk (COPY = listo.simple);
        -- The words that misspelt ones are corrected to: whole ones, no numbers and addresses.
        CREATE TEXT SEARCH CONFIGURATION listo.words (COPY = listo.simple);
        ALTER TEXT SEARCH CONFIGURATION listo.words DROP MAPPING FOR
            asciihword, hword, numword, numhword, hword_numpart, email, url, host, url_path, file,
            version, sfloat, float, int, uint;
    END
    $$
"""

# Chinese, Japanese and Korean have no spaces between words: each letter comes with the next one,
# and the last of a run alone.
_CJK = (
    "[\\u1100-\\u11ff\\u3040-\\u30ff\\u3100-\\u318f\\u31a0-\\u31bf\\u31f0-\\u31ff\\u3400-\\u4dbf"
    "\\u4e00-\\u9fff\\ua960-\\ua97f\\uac00-\\ud7ff\\uf900-\\ufaff\\uff66-\\uff9f"
    "\\U00020000-\\U0003134f]"
)
_BIGRAMS = f"""
    CREATE OR REPLACE FUNCTION listo.bigrams(t text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 AS $$
    BEGIN
        IF t !~ '{_CJK}' THEN
            RETURN t;
        END IF;
        RETURN (
            SELECT string_agg(
                CASE WHEN cjk THEN ' ' || c || CASE WHEN next_cjk THEN next ELSE '' END || ' '
                     ELSE c END, '' ORDER BY n)
            FROM (
                SELECT c, n, cjk, lead(c) OVER (ORDER BY n) AS next,
                       lead(cjk) OVER (ORDER BY n) AS next_cjk
                FROM (
                    SELECT c, n, c ~ '{_CJK}' AS cjk
                    FROM regexp_split_to_table(t, '') WITH ORDINALITY AS _ (c, n)
                ) AS letters
            ) AS pairs
        );
    END
    $$
"""

STATEMENTS = (
    _EXTENSION,
    _LANGUAGES,
    # The texts of an array, with a control character between them; the texts have none of those
    # that searches use.
    """
    CREATE OR REPLACE FUNCTION listo.search_texts(v jsonb) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 100 AS $$
    BEGIN
        IF jsonb_typeof(v) = 'array' THEN
            RETURN (
                SELECT string_agg(
                    CASE jsonb_typeof(e) WHEN 'string'
                        THEN translate(e #>> '{}', E'\\x02\\x03\\x1e', '   ') ELSE '' END,
                    E'\\x1e' ORDER BY n)
                FROM jsonb_array_elements(v) WITH ORDINALITY AS _ (e, n)
            );
        END IF;
        RETURN NULL;
    END
    $$
    """,
    # The text that is searched, and the one that is highlighted: that has no control characters but
    # one before each text of an array. PostgreSQL puts the bodies of such functions in their place.
    """
    CREATE OR REPLACE FUNCTION listo.search_text(v jsonb, most int) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(left(
        CASE jsonb_typeof(v) WHEN 'string' THEN v #>> '{}' ELSE listo.search_texts(v) END, most
    ), '')
    """,
    """
    CREATE OR REPLACE FUNCTION listo.search_shown(v jsonb, most int) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN coalesce(left(CASE jsonb_typeof(v)
        WHEN 'string' THEN translate(v #>> '{}', E'\\x02\\x03\\x1e', '   ')
        ELSE E'\\x1e' || listo.search_texts(v) END, most
    ), '')
    """,
    # The text with marks; without any if PostgreSQL left something out, as it does with words of
    # over 2,046 bytes: marks would tell wrong places.
    """
    CREATE OR REPLACE FUNCTION listo.search_marks(
        configuration regconfig, t text, q tsquery, options text
    ) RETURNS text
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 AS $$
    DECLARE
        marked text := ts_headline(configuration, t, q, options);
    BEGIN
        IF length(translate(marked, E'\\x02\\x03', '')) = length(t) THEN
            RETURN marked;
        END IF;
        RETURN t;
    END
    $$
    """,
    _BIGRAMS,
    # A vector with marks of the lexemes that weigh more than one in the lightest field: for a
    # lexeme of the second level, E'\x01b' || lexeme, and E'\x01A' || lexeme, since it is above the
    # first of five steps. The price is what keeps the planner from
    # computing vectors of many records where the index tells.
    """
    CREATE OR REPLACE FUNCTION listo.search_marked(v tsvector, lightest float8) RETURNS tsvector
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 5000 AS $$
    DECLARE
        levels CONSTANT float8[] := '{2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 7.5, 8,
            9, 10, 11, 12, 13, 14, 16, 18, 20, 24, 28, 32, 40}';
        steps CONSTANT float8[] := '{2.5, 3.5, 5, 7, 10}';
        marks text[];
    BEGIN
        SELECT array_agg(E'\\x01' || level || lexeme) INTO marks
        FROM (
            SELECT lexeme, (
                SELECT sum(CASE w WHEN 'A' THEN 1 WHEN 'B' THEN 0.4 WHEN 'C' THEN 0.2 ELSE 0.1 END)
                FROM unnest(weights) AS _ (w)
            )::float8 / lightest + 0.001 AS times
            FROM unnest(v)
            WHERE cardinality(weights) > 1 OR weights[1] <> CASE
                WHEN lightest > 0.9 THEN 'A' WHEN lightest > 0.3 THEN 'B'
                WHEN lightest > 0.15 THEN 'C' ELSE 'D' END
            ORDER BY times DESC, lexeme LIMIT 500
        ) AS weighed, LATERAL (
            SELECT chr(96 + width_bucket(times, levels)) UNION ALL
            SELECT chr(64 + step) FROM generate_series(1, width_bucket(times, steps)) AS step
        ) AS of_lexeme (level)
        WHERE times >= 2;
        RETURN CASE WHEN marks IS NULL THEN v ELSE v || array_to_tsvector(marks) END;
    END
    $$
    """,
    # Not for parallel plans, by which PostgreSQL would look for candidates beyond the first enough.
    """
    CREATE OR REPLACE FUNCTION listo.search_rank(v tsvector, q tsquery) RETURNS float8
    LANGUAGE sql IMMUTABLE PARALLEL UNSAFE COST 1000
    RETURN ts_rank_cd(v, q)::float8
    """,
    # The keys that a word is found by, see app/records/search/words.py: itself, all that it is
    # without one letter, and for a long word '2' before its first seven letters without
    # two of them.
    """
    CREATE OR REPLACE FUNCTION listo.deletions(word text) RETURNS text[]
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE COST 1000 AS $$
    DECLARE
        found text[] := ARRAY[word];
        letters int := length(word);
        part text;
    BEGIN
        FOR i IN 1 .. letters LOOP
            found := found || (left(word, i - 1) || substr(word, i + 1));
        END LOOP;
        IF letters >= 7 THEN
            FOR i IN 2 .. 7 LOOP
                part := left(word, i - 1) || substr(word, i + 1, 7 - i);
                FOR j IN 1 .. i - 1 LOOP
                    found := found || ('2' || left(part, j - 1) || substr(part, j + 1));
                END LOOP;
            END LOOP;
        END IF;
        RETURN found;
    END
    $$
    """,
    # The settings of each search index, by which a former one serves until the next is built.
    """
    CREATE TABLE IF NOT EXISTS listo.search_indexes (
        name text PRIMARY KEY,
        settings text NOT NULL
    )
    """,
    # How often each word stands in the records of a collection, and how much had been written to
    # the collection when that was counted.
    """
    CREATE TABLE IF NOT EXISTS listo.search_counts (
        collection uuid PRIMARY KEY REFERENCES listo.collections (id) ON DELETE CASCADE,
        index text NOT NULL,
        writes bigint NOT NULL,
        records bigint NOT NULL,
        counted_at timestamptz NOT NULL DEFAULT now()
    )
    """,
    """
    CREATE TABLE IF NOT EXISTS listo.search_words (
        collection uuid NOT NULL REFERENCES listo.collections (id) ON DELETE CASCADE,
        word text COLLATE "C" NOT NULL,
        records bigint NOT NULL,
        PRIMARY KEY (collection, word)
    )
    """,
    # Searches read the entries that are pending, so these are few.
    """
    CREATE INDEX IF NOT EXISTS search_words_deletions
        ON listo.search_words USING gin (listo.deletions(word)) WITH (gin_pending_list_limit = 256)
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
