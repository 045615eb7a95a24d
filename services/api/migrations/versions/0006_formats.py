"""The forms by which strings of a format are compared, as app/filters/formats.py says.

Indexes are made of these functions: a function that is to answer otherwise needs another name, by
which the worker knows that the indexes have to be made anew. Each function depends on the text
alone, whatever a session has set, and never fails: a string that is no value of the format, which
only a direct write to the table can have stored, is as null. Other values stay as they are.
"""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_FUNCTION = """
    CREATE FUNCTION listo.{name}(v jsonb) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    DECLARE
        t text := v #>> '{{}}';
        {declared}
    BEGIN
        IF jsonb_typeof(v) = 'string' AND t ~ '^{pattern}$' THEN
            {body}
        END IF;
        RETURN CASE WHEN jsonb_typeof(v) <> 'string' THEN v ELSE 'null' END;
    END
    $$
"""
_DATE = "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_OFFSET = "([01][0-9]|2[0-3]):[0-5][0-9]"
_TIME = f"{_OFFSET}:([0-5][0-9]|60)([.][0-9]+)?([Zz]|[-+]{_OFFSET})"
# The seconds of the local time that starts at {start}, and its minute in UTC.
_CLOCK = """
            IF right(t, 1) IN ('Z', 'z') THEN
                t := left(t, -1);
                zone := '+00:00';
            ELSE
                zone := right(t, 6);
                t := left(t, -6);
            END IF;
            seconds := substr(t, {start} + 6, 2)
                || rtrim(rtrim(substr(t, {start} + 8), '0'), '.');
            {at_once}
            minute := 60 * substr(t, {start}, 2)::int + substr(t, {start} + 3, 2)::int
                - (left(zone, 1) || '1')::int
                * (60 * substr(zone, 2, 2)::int + substr(zone, 5, 2)::int);
            days := floor(minute / 1440.0);
            minute := minute - 1440 * days;
            IF left(seconds, 2) = '60' AND minute <> 1439 THEN
                RETURN 'null';
            END IF;
"""
_OF_CLOCK = "to_char(minute / 60, 'FM00') || ':' || to_char(minute % 60, 'FM00') || ':' || seconds"
_CLOCK_DECLARED = "zone text; seconds text; minute int; days int;"
_N = "[0-9]{1,15}"
_OF_DAY = f"(T({_N}H({_N}M({_N}S)?)?|{_N}M({_N}S)?|{_N}S))"
_NUMBER = "coalesce(substring({part} FROM '([0-9]+){unit}')::numeric, 0)"


def _number(part: str, unit: str) -> str:
    return _NUMBER.format(part=part, unit=unit)


STATEMENTS = (
    _FUNCTION.format(
        name="date_time",
        declared=_CLOCK_DECLARED + " day date;",
        pattern=f"{_DATE}[Tt]{_TIME}",
        body=_CLOCK.format(
            start=12,
            at_once="""
            IF zone = '+00:00' AND left(seconds, 2) <> '60' AND substr(t, 9, 2) <= '28' THEN
                RETURN to_jsonb('1' || left(t, 10) || 'T' || substr(t, 12, 6) || seconds);
            END IF;""",
        )
        # 10,000 years later, since PostgreSQL has no year 0.
        + f"""
            day := make_date(10000 + left(t, 4)::int, substr(t, 6, 2)::int, 1)
                + (substr(t, 9, 2)::int - 1);
            IF extract(month FROM day) <> substr(t, 6, 2)::int THEN
                RETURN 'null';
            END IF;
            RETURN to_jsonb(
                lpad(to_char(day + days, 'YYYY-MM-DD'), 11, '0') || 'T' || {_OF_CLOCK});""",
    ),
    _FUNCTION.format(
        name="time_of_day",
        declared=_CLOCK_DECLARED,
        pattern=_TIME,
        body=_CLOCK.format(start=1, at_once="") + f"RETURN to_jsonb({_OF_CLOCK});",
    ),
    _FUNCTION.format(
        name="uuid",
        declared="",
        pattern="[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}",
        body="RETURN to_jsonb(lower(t));",
    ),
    _FUNCTION.format(
        name="duration",
        declared="days text := split_part(t, 'T', 1); clock text := split_part(t, 'T', 2);"
        " months numeric; seconds numeric;",
        pattern=f"P({_N}W|({_N}Y({_N}M({_N}D)?)?|{_N}M({_N}D)?|{_N}D){_OF_DAY}?|{_OF_DAY})",
        body=f"""
            months := 12 * {_number("days", "Y")} + {_number("days", "M")};
            seconds := 86400 * (7 * {_number("days", "W")} + {_number("days", "D")})
                + 3600 * {_number("clock", "H")} + 60 * {_number("clock", "M")}
                + {_number("clock", "S")};
            RETURN to_jsonb(lpad((2629746 * months + seconds)::text, 24, '0')
                || 'M' || lpad(months::text, 17, '0'));""",
    ),
    """
    CREATE FUNCTION listo.each(v jsonb, format text) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
    BEGIN
        IF jsonb_typeof(v) IS DISTINCT FROM 'array' THEN
            RETURN coalesce(v, 'null');
        END IF;
        RETURN coalesce((
            SELECT jsonb_agg(CASE format
                WHEN 'date-time' THEN listo.date_time(e)
                WHEN 'time' THEN listo.time_of_day(e)
                WHEN 'uuid' THEN listo.uuid(e)
                WHEN 'duration' THEN listo.duration(e)
            END ORDER BY n)
            FROM jsonb_array_elements(v) WITH ORDINALITY AS elements (e, n)
        ), '[]');
    END
    $$
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)
