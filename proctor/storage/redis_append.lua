-- Store a group commit: of each session every message whole or not at all, and nothing in between.
-- KEYS: the epoch, then of each session: ledger, digests, index, seal.
-- ARGV: an epoch for a Redis that has none, seconds that frames live, seconds that the rest lives; then of each
--       session the prefix of its frames' keys and how many messages follow, each of them as its seq or '', its
--       digest, how many frames follow, and each of those as its time in ms and its head.
-- Returns the epoch, the last reason for a refusal or '', and one number per message: that of its first frame when
-- it was stored, else what became of it instead.
--
-- A session's ledger has the `count` of its frames, and says that the messages numbered 1 to `last` are stored and
-- `beyond` of those above. The digests of the former stand one behind the other, 8 bytes each, since a field for each
-- would cost ten times the memory; those of others are fields of the ledger.
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

-- What becomes of each message from `at` on, where the next session's begin, and what this one has to write.
local function judge(ledger, digests, at, messages, prefix, sealed)
    local found = {}
    local known = attempt('HMGET', ledger, 'count', 'last', 'beyond')
    if not known or not attempt('STRLEN', digests) then
        for message = 1, messages do
            found[message] = REFUSED
            at = at + 3 + 2 * ARGV[at + 2]
        end
        return found, at
    end
    local count, last, beyond = tonumber(known[1] or 0), tonumber(known[2] or 0), tonumber(known[3] or 0)
    local run_before, any_outside = last, beyond > 0
    local write = {messages = 0, scores = {}, bodies = {}, run = {}, outside = {}, joined = {}}
    local fresh = {}

    local function digest_of(seq)
        local number = tonumber(seq)
        if number > 0 and number <= run_before then
            return redis.call('GETRANGE', digests, 8 * number - 8, 8 * number - 1)
        end
        return fresh[seq] or ((any_outside or number == 0) and redis.call('HGET', ledger, seq))
    end

    local function note(seq, digest)
        local number = tonumber(seq)
        fresh[seq] = digest
        if number ~= last + 1 then
            write.outside[seq] = digest
            beyond = number > last and beyond + 1 or beyond
            return
        end
        write.run[#write.run + 1] = digest
        last = number
        while beyond > 0 do
            local following = string.format('%.0f', last + 1)
            local waiting = digest_of(following)
            if not waiting then
                return
            end
            write.run[#write.run + 1] = waiting
            write.joined[#write.joined + 1] = following
            write.outside[following] = nil
            last = last + 1
            beyond = beyond - 1
        end
    end

    for message = 1, messages do
        local seq, digest, after = ARGV[at], ARGV[at + 1], at + 3 + 2 * ARGV[at + 2]
        local before = seq ~= '' and digest_of(seq)
        if sealed then
            found[message] = SEALED
        elseif before then
            found[message] = before == digest and DUPLICATE or CONFLICT
        else
            found[message] = count
            write.messages = write.messages + 1
            for frame = at + 3, after - 1, 2 do
                local time_ms = ARGV[frame]
                local id = time_ms .. '-' .. count
                write.scores[#write.scores + 1] = time_ms / 1000
                write.scores[#write.scores + 1] = id
                write.bodies[#write.bodies + 1] = prefix .. id
                write.bodies[#write.bodies + 1] = ARGV[frame + 1] .. id .. '"}'
                count = count + 1
            end
            if seq ~= '' then
                note(seq, digest)
            end
        end
        at = after
    end
    write.fields = {'count', count, 'last', string.format('%.0f', last), 'beyond', beyond}
    for seq, digest in pairs(write.outside) do
        write.fields[#write.fields + 1] = seq
        write.fields[#write.fields + 1] = digest
    end
    return found, at, write
end

-- Returns false, having written nothing, if the index is refused; the rest was read and cannot be.
local function store(ledger, digests, index, write)
    for start = 1, #write.scores, 2 * ZADD_MOST do
        local stop = math.min(start + 2 * ZADD_MOST - 1, #write.scores)
        if not attempt('ZADD', index, unpack(write.scores, start, stop)) then
            return false
        end
    end
    for body = 1, #write.bodies, 2 do
        redis.call('SET', write.bodies[body], write.bodies[body + 1], 'EX', retention)
    end
    if #write.run > 0 then
        redis.call('APPEND', digests, table.concat(write.run))
        redis.call('EXPIRE', digests, memory)
    end
    if #write.joined > 0 then
        redis.call('HDEL', ledger, unpack(write.joined))
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
for session = 2, #KEYS, 4 do
    local ledger, digests, index, seal = unpack(KEYS, session, session + 3)
    local prefix, messages = ARGV[at], tonumber(ARGV[at + 1])
    local found, after, write = judge(ledger, digests, at + 2, messages, prefix, redis.call('EXISTS', seal) == 1)
    local refused = write and write.messages > 0 and not store(ledger, digests, index, write)
    for message = 1, messages do
        -- Also a message that repeats another of this commit has not been stored then.
        answers[#answers + 1] = refused and REFUSED or found[message]
    end
    at = after
end
answers[2] = refusal
return answers
