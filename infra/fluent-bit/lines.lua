-- The shipper's work on a line: `join` puts together the parts that Docker cut, and keeps JSON that
-- is too deep from the parsers; `tidy` keeps the parts of a parsed record that go to Loki. LuaJIT
-- runs the script, in Fluent Bit and in tests.

-- The longest line that is kept, and the most lines that may wait for further parts at once.
local MOST_BYTES = 256 * 1024
local MOST_LINES = 256
-- Fluent Bit reads back 32 levels of MessagePack, its own around a line included. A chunk with more
-- is unreadable for ever, with all its lines; some thousand levels crash Fluent Bit.
local MOST_LEVELS = 24
-- A label may have few values, so each service's word becomes one of these levels.
local LEVELS = {
    debug = "debug", trace = "debug", verbose = "debug", ["."] = "debug", ["-"] = "debug",
    info = "info", notice = "info", log = "info", ["*"] = "info",
    statement = "info", detail = "info", hint = "info", context = "info", location = "info",
    warning = "warning", warn = "warning", ["#"] = "warning",
    error = "error", err = "error", eror = "error",
    critical = "critical", fatal = "critical", panic = "critical", crit = "critical",
    alert = "critical", emerg = "critical", dpanic = "critical",
}

local lines, in_the_making = {}, 0

-- Whether a string of JSON may begin at the quote.
local function begins_string(line, quote)
    local before = quote - 1
    while before > 0 and line:byte(before) <= 32 do
        before = before - 1
    end
    return line:find("^[%[{,:]", before) ~= nil
end

-- Whether a line that may be JSON nests deeper than MOST_LEVELS, or its depth cannot be told.
local function too_deep(line)
    if not line:find("^%s*[%[{]") then
        return false
    end
    local depth, at = 0, 1
    while true do
        local start, _, found = line:find('([%[{%]}"])', at)
        if start == nil then
            return false
        end
        at = start + 1
        if found == '"' then
            if not begins_string(line, start) then
                return true
            end
            -- Go to the end of the string; a quote after a backslash is part of the string.
            repeat
                local mark
                at, _, mark = line:find('(["\\])', at)
                if at == nil then
                    return false
                end
                at = at + (mark == '"' and 1 or 2)
            until mark == '"'
        elseif found == "[" or found == "{" then
            depth = depth + 1
            if depth > MOST_LEVELS then
                return true
            end
        else
            depth = depth - 1
        end
    end
end

-- The parsers look into `log` alone, so they skip a line under another key.
local function guard(record)
    if type(record["log"]) == "string" and too_deep(record["log"]) then
        record["log"], record["unparsed"] = nil, record["log"]
        return true
    end
    return false
end

-- Parts of one line have an id in common; all but the last are held back.
function join(tag, timestamp, record)
    if record["partial_message"] ~= "true" then
        return guard(record) and 2 or 0, timestamp, record
    end
    local id = record["partial_id"] or tag
    local line = lines[id]
    if line == nil then
        if in_the_making >= MOST_LINES then
            -- The services that wrote these lines died half-way through.
            lines, in_the_making = {}, 0
        end
        line = { bytes = 0 }
        lines[id], in_the_making = line, in_the_making + 1
    end
    local part = tostring(record["log"] or "")
    if line.bytes < MOST_BYTES then
        line[#line + 1] = part
        line.bytes = line.bytes + #part
    end
    if record["partial_last"] ~= "true" then
        return -1, timestamp, record
    end
    lines[id], in_the_making = nil, in_the_making - 1
    record["log"] = table.concat(line):sub(1, MOST_BYTES)
    guard(record)
    return 2, timestamp, record
end

local function word(value, pattern, least, most)
    if type(value) == "string" and #value >= least and #value <= most and value:match(pattern) then
        return value
    end
    return nil
end

-- nginx repeats a request with its query, which can hold what no log should.
local function without_queries(line)
    return (line:gsub('(%w+: "[^"? ]*[^"?]*)%?[^" ]*', "%1"))
end

local function level_of(record, service)
    local found = record["level"]
    if found == nil and record["lvl"] ~= nil then
        found = record["lvl"]
    end
    if type(found) ~= "string" then
        return "unknown"
    end
    found = found:lower():gsub("%d$", "")
    -- FATAL ends one session, after a failed login for example, and not the server.
    if service == "postgres" and found == "fatal" then
        return "error"
    end
    return LEVELS[found] or "unknown"
end

function tidy(tag, timestamp, record)
    local line = tostring(record["log"] or record["unparsed"] or "")
    local service = word(record["com.docker.compose.service"], "^[a-z0-9_-]+$", 1, 40) or "other"
    if service == "nginx" and record["tid"] ~= nil then
        line = without_queries(line)
    end
    local container = record["container_name"]
    if type(container) == "string" then
        container = container:gsub("^/", "")
    end
    return 2, timestamp, {
        log = line,
        service = service,
        level = level_of(record, service),
        request_id = word(record["request_id"], "^[%w_.:-]+$", 8, 128),
        trace_id = word(record["trace_id"], "^%x+$", 32, 32),
        container = word(container, "^[%w_.-]+$", 1, 128),
    }
end
