-- Store a group commit: of each session every message whole or not at all, and nothing in between.
-- KEYS: the epoch, then of each session: ledger, index, seal.
-- ARGV: an epoch for a Redis that has none, seconds that frames live, seconds that the rest lives; then of each
--       session the prefix of its frames' keys and how many messages follow, each of them as its seq or '', its
--       digest, how many frames follow, and each of those as its time in ms and its head.
-- Returns the epoch, the last reason for a refusal or '', and one number per message: that of its first frame when
-- it was stored, else what became of it instead.
local DUPLICATE, CONFLICT, SEALED, REFUSED = -1, -2, -3, -4
local ZADD_MOST = 1000 -- Lua's stack bounds the arguments of one call

local new_epoch, retention, memory = unpack(ARGV, 1, 3)
local refusal = ''

local function attempt(...)
    local answer = redis.pcall(...)
    if type(answer) == 'table' and answer.err then
        refusal = answer.err
        return nil
    end
    return answer
end

-- What becomes of each message from `at` on, where the next session's begin, and what this one has to write. The
-- ledger counts its frames, and of its messages knows that 1 to `last` are stored and `beyond` of those above.
local function judge(ledger, at, messages, prefix, sealed)
    local found, starts = {}, {}
    local fields = {'count', 'last', 'beyond'}
    for message = 1, messages do
        starts[message] = at
        if ARGV[at] ~= '' then
            fields[#fields + 1] = ARGV[at]
        end
        at = at + 3 + 2 * ARGV[at + 2]
    end
    starts[messages + 1] = at
    local known = attempt('HMGET', ledger, unpack(fields))
    if not known then
        for message = 1, messages do
            found[message] = REFUSED
        end
        return found, at
    end
    local write = {messages = 0, scores = {}, bodies = {}, fields = {}}
    local count, last, beyond = tonumber(known[1] or 0), tonumber(known[2] or 0), tonumber(known[3] or 0)
    local fresh, place = {}, 3
    for message = 1, messages do
        local start = starts[message]
        local seq, digest = ARGV[start], ARGV[start + 1]
        local before = false
        if seq ~= '' then
            place = place + 1
            before = fresh[seq] or known[place]
        end
        if sealed then
            found[message] = SEALED
        elseif before then
            found[message] = before == digest and DUPLICATE or CONFLICT
        else
            found[message] = count
            write.messages = write.messages + 1
            for frame = start + 3, starts[message + 1] - 1, 2 do
                local time_ms = ARGV[frame]
                local id = time_ms .. '-' .. count
                write.scores[#write.scores + 1] = time_ms / 1000
                write.scores[#write.scores + 1] = id
                write.bodies[#write.bodies + 1] = prefix .. id
                write.bodies[#write.bodies + 1] = ARGV[frame + 1] .. id .. '"}'
                count = count + 1
            end
            if seq ~= '' then
                fresh[seq] = digest
                write.fields[#write.fields + 1] = seq
                write.fields[#write.fields + 1] = digest
                local number = tonumber(seq)
                if number == last + 1 then
                    last = number
                    while beyond > 0 do
                        local following = string.format('%.0f', last + 1)
                        if not fresh[following] and redis.call('HEXISTS', ledger, following) == 0 then
                            break
                        end
                        last = last + 1
                        beyond = beyond - 1
                    end
                elseif number > last then
                    beyond = beyond + 1
                end
            end
        end
    end
    for name, value in pairs({count = count, last = last, beyond = beyond}) do
        write.fields[#write.fields + 1] = name
        write.fields[#write.fields + 1] = string.format('%.0f', value)
    end
    return found, at, write
end

-- Returns false, having written nothing, if the index is refused; the ledger was read and cannot be.
local function store(ledger, index, write)
    for start = 1, #write.scores, 2 * ZADD_MOST do
        local stop = math.min(start + 2 * ZADD_MOST - 1, #write.scores)
        if not attempt('ZADD', index, unpack(write.scores, start, stop)) then
            return false
        end
    end
    for body = 1, #write.bodies, 2 do
        redis.call('SET', write.bodies[body], write.bodies[body + 1], 'EX', retention)
    end
    redis.call('HSET', ledger, unpack(write.fields))
    redis.call('EXPIRE', ledger, memory)
    redis.call('EXPIRE', index, retention)
    return true
end

local epoch = redis.call('GET', KEYS[1])
if not epoch then
    epoch = new_epoch
    redis.call('SET', KEYS[1], epoch)
end
local answers = {epoch, ''}
local at = 4
for session = 2, #KEYS, 3 do
    local ledger, index, seal = unpack(KEYS, session, session + 2)
    local prefix, messages = ARGV[at], tonumber(ARGV[at + 1])
    local found, after, write = judge(ledger, at + 2, messages, prefix, redis.call('EXISTS', seal) == 1)
    local refused = write and write.messages > 0 and not store(ledger, index, write)
    for message = 1, messages do
        -- Also a message that repeats another of this commit has not been stored then.
        answers[#answers + 1] = refused and REFUSED or found[message]
    end
    at = after
end
answers[2] = refusal
return answers
