-- What stands behind the body of a script that runs once per token; `rs_once` is that body as a function. Made
-- into one text by `once.rs`, which takes lines of comment and indentation away and fills in what stands
-- between two @. In a library it stands behind each function, in one line, so that the library's lines keep
-- their numbers.
--
-- Everything that is needed after the body is taken into locals before it: what it does to globals must not matter.
local KEYS, call, pcall, type, next, get, msgpack, sub, upper, match, setresp, tostring, tonumber, format =
    KEYS, redis.pcall, pcall, type, next, rawget, cmsgpack, string.sub, string.upper, string.match, redis.setresp,
    tostring, tonumber, string.format
local key = KEYS[#KEYS]
KEYS[#KEYS] = nil
-- A token of the caller's own may meet another call; the library's own tokens do not.
local mark = ''
if string.byte(key, @SEPARATOR@) ~= 46 then
    mark = redis.sha1hex('@BODY@' .. msgpack.pack(KEYS, ARGV))
end
-- A server's error in its own words: 6.2 puts the place in front of them, and hands them to scripts as they go over
-- the wire.
local gsub = string.gsub
local function words(reply)
    return match(gsub(reply.err, '^.user_script: %d+: ', ''), '^%-?(.-)%s*$')
end
-- Words of this wrapper's or of the server's that the body gives back are its own: there is a mark behind them. Such
-- words without it come from here alone, and nothing has run. Records of earlier versions have it for the former only.
local codes = ' NOSCRIPT LOADING MASTERDOWN BUSY MOVED ASK TRYAGAIN CLUSTERDOWN READONLY UNBLOCKED NOPERM OOM ' ..
    'NOREPLICAS MISCONF CROSSSLOT '
local function own(text)
    -- A server ends an error at its first NUL: a mark behind that would not be sent.
    text = gsub(text, '%z', ' ')
    local code = match(text, '^%u+')
    local is_theirs = code and match(codes, ' ' .. code .. ' ') or match(text, '^RS%u') or match(text, '^ERR Can not ')
    if is_theirs and sub(text, -#'@RAISED@') ~= '@RAISED@' then return text .. '@RAISED@' end
    return text
end
-- A record starts with a sign of what the reply was. Tables are a list: a table {a, h} for each, behind it its a
-- elements and h pairs; {-1} is the zero below zero.
local function replay(record)
    local sign, rest = sub(record, 1, 1), sub(record, 2)
    if sign == 's' then return rest end
    if sign == 'n' then return tonumber(rest) end
    if sign == 'o' then return {ok = rest} end
    if sign == 'e' then return {err = own(rest)} end
    if sign == 'z' then return end
    if sign == 'x' then return {err = '@NOT_KEPT@'} end
    if sign == 'T' or sign == 'F' or sign == 'M' then setresp(3) end
    if sign == 't' or sign == 'T' then return true end
    if sign == 'f' or sign == 'F' then return false end
    if sign ~= 'm' and sign ~= 'M' then return {err = '@STRANGE@'} end
    local list, place = msgpack.unpack(rest), 0
    local function value()
        place = place + 1
        local found = list[place]
        if type(found) ~= 'table' then return found end
        -- A null that does not end an array, as a function is one.
        if not found[1] then return pcall end
        if found[1] < 0 then return tonumber('-0') end
        local made = {}
        for element = 1, found[1] do made[element] = value() end
        for _ = 1, found[2] or 0 do
            local name = value()
            made[name] = value()
        end
        return made
    end
    return value()
end
local record = redis.call('GET', key)
if record then
    if sub(record, 1, #mark) ~= mark then return {err = '@MISMATCH@'} end
    local written = call('PEXPIRE', key, @LIFETIME@)
    if type(written) == 'table' then return {err = words(written)} end
    return replay(sub(record, #mark + 1))
end
local set_repl = @SET_REPL@
local function pass() end
local done, reply = pcall(rs_once)
-- A script that is killed gets through a pcall: it ends at the next line, or where that does not come, when the
-- next function begins.
pass()
if set_repl then set_repl(redis.REPL_ALL) end
local kind = type(reply)
local list, length, has_booleans, has_pairs, is_large = {}, 0
local function append(value, depth)
    local kind = type(value)
    length = length + 1
    if length > @LIMIT@ or depth > @DEPTH@ then
        is_large = true
    elseif kind == 'table' then
        local head, count, pairs = {}, 1, 0
        list[length] = head
        local element = get(value, 1)
        while element ~= nil and not is_large do
            append(element, depth + 1)
            count = count + 1
            element = get(value, count)
        end
        head[1] = count - 1
        for name, element in next, value do
            local is_element = type(name) == 'number' and name > 0 and name < count and name % 1 == 0
            if not is_element and not is_large then
                append(name, depth + 1)
                append(element, depth + 1)
                pairs = pairs + 1
            end
        end
        if pairs > 0 then head[2] = pairs end
        has_pairs = has_pairs or pairs > 1
    elseif value == 0 and 1 / value < 0 then
        -- To msgpack it is an integer, and has no sign.
        list[length] = {-1}
    elseif kind == 'string' or kind == 'number' then
        list[length] = value
    elseif kind == 'boolean' then
        list[length] = value
        has_booleans = true
    else
        list[length] = {}
    end
end
if not done then
    local text = reply
    if kind == 'table' then
        -- What it makes of itself may raise an error again.
        text = get(reply, 'err')
        if type(text) ~= 'string' then text = kind end
    end
    text = gsub(tostring(text), '%z', ' ')
    -- Of a table the server's pcall hands over the text alone. A place in front is Lua's, and no code.
    if not match(text, '^%u[%u%d_]* ') then text = 'ERR ' .. text end
    reply = {err = text .. '@RAISED@'}
    record = 'e' .. reply.err
elseif kind == 'string' then
    record = 's' .. reply
elseif kind == 'number' then
    record = 'n' .. format('%.17g', reply)
elseif kind == 'boolean' then
    record = reply and 't' or 'f'
    has_booleans = true
elseif kind ~= 'table' then
    record = 'z'
elseif type(get(reply, 'err')) == 'string' then
    local text = own(get(reply, 'err'))
    if text ~= get(reply, 'err') then reply = {err = text} end
    record = 'e' .. text
elseif type(get(reply, 'ok')) == 'string' then
    record = 'o' .. get(reply, 'ok')
else
    append(reply, 1)
    record = is_large and 'x' or 'm' .. msgpack.pack(list)
end
-- Booleans are others after redis.setresp(3), and so is what is not there.
if has_booleans and not is_large and call('GET', key) == nil then
    record = upper(sub(record, 1, 1)) .. sub(record, 2)
end
if #record > @LIMIT@ then record = 'x' end
local written = call('SET', key, mark .. record, 'PX', @LIFETIME@)
if written.err then
    written = words(written)
    local code = match(written, '^%u+')
    -- By these the server refuses the first write alone: the body has written nothing.
    if code ~= 'READONLY' and code ~= 'OOM' and code ~= 'MISCONF' and code ~= 'NOREPLICAS' and code ~= 'MASTERDOWN' then
        written = '@NOT_WRITTEN@' .. written
    end
    return {err = written}
end
-- In the order of pairs that a repeat gets.
if has_pairs and record ~= 'x' then return replay(record) end
return reply
