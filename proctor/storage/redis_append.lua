-- Store a group commit: of each session every message whole or not at all, and nothing in between.
-- KEYS: the epoch, then of each session: ledger, digests, index, seal.
-- ARGV: an epoch for a Redis that has none, seconds that frames live, seconds that the rest lives, seconds since the
--       epoch; then of each session the prefix of its frames' keys and how many messages follow, each of them as its
--       seq or '', its digest, how many frames follow, and each of those as its time in ms and its head.
-- Returns the epoch, the last reason for a refusal or '', and one number per message: that of its first frame when
-- it was stored, else what became of it instead.
--
-- A session's ledger has the `count` of its frames, and says that the messages numbered 1 to `last` are stored and
-- `beyond` of those above. The digests of the former stand one behind the other, 8 bytes each, since a field for each
-- would cost ten times the memory; those of others are fields of the ledger. When a gap closes behind very many of
-- them, `last` moves past all in a few commits.
local DUPLICATE, CONFLICT, SEALED, REFUSED = -1, -2, -3, -4
local PROLONG_SECONDS = 300 -- after so long, what outlives the frames is given its whole life again
local ZADD_MOST = 1000 -- Lua's stack bounds the arguments of one call to some 8,000
local JOIN_MOST = 2000 -- for that reason too, and lest one session hold up everybody
local TRIM_EVERY, TRIM_MOST = 250, 1000 -- frames stored until some that have expired leave the index; so many at most

local new_epoch, retention, memory, now = unpack(ARGV, 1, 4)
local refusal = ''

local function attempt(...)
    local answer = redis.pcall(...)
    if type(answer) == 'table' and answer.err then
        refusal = answer.err
        return nil
    end
    return answer
end

-- The digest under which a message was stored, in this commit or before, or false.
local function digest_of(session, seq)
    local number = tonumber(seq)
    if number > 0 and number <= session.run_before then
        return attempt('GETRANGE', session.digests, 8 * number - 8, 8 * number - 1) or false
    end
    local outside = session.any_outside or number == 0
    return session.fresh[seq] or (outside and redis.call('HGET', session.ledger, seq))
end

-- Move `last` past what is stored already of the messages that follow it.
local function join(session)
    while session.beyond > 0 and #session.joined < JOIN_MOST do
        local following = string.format('%.0f', session.last + 1)
        local waiting = digest_of(session, following)
        if not waiting then
            return
        end
        session.run[#session.run + 1] = waiting
        session.joined[#session.joined + 1] = following
        session.outside[following] = nil
        session.last = session.last + 1
        session.beyond = session.beyond - 1
    end
end

local function note(session, seq, digest)
    local number = tonumber(seq)
    session.fresh[seq] = digest
    if number == session.last + 1 then
        session.run[#session.run + 1] = digest
        session.last = number
        join(session)
        return
    end
    session.outside[seq] = digest
    if number > session.last then
        session.beyond = session.beyond + 1
    end
end

-- Number the frames of the message that ARGV has from `at` to before `after`.
local function take(session, prefix, at, after)
    local scores, bodies = session.scores, session.bodies
    for frame = at + 3, after - 1, 2 do
        local time_ms = ARGV[frame]
        local id = time_ms .. '-' .. session.count
        scores[#scores + 1] = time_ms / 1000
        scores[#scores + 1] = id
        bodies[#bodies + 1] = prefix .. id
        bodies[#bodies + 1] = ARGV[frame + 1] .. id .. '"}'
        session.count = session.count + 1
    end
end

-- What there is to write of a session's messages, what becomes of each, and where in ARGV the next session begins.
local function judge(ledger, digests, at, messages, sealed)
    local prefix, found = ARGV[at], {}
    local known = attempt('HMGET', ledger, 'count', 'last', 'beyond', 'kept')
    local session = {
        ledger = ledger, digests = digests, prefix = prefix, any_new = false, fresh = {},
        scores = {}, bodies = {}, run = {}, outside = {}, joined = {},
    }
    if known then
        session.count, session.last = tonumber(known[1] or 0), tonumber(known[2] or 0)
        session.beyond, session.kept = tonumber(known[3] or 0), tonumber(known[4] or 0)
        session.run_before, session.any_outside = session.last, session.beyond > 0
        join(session)
        session.any_new = #session.joined > 0
    end
    at = at + 2
    for message = 1, messages do
        local seq, digest, after = ARGV[at], ARGV[at + 1], at + 3 + 2 * ARGV[at + 2]
        local before = known and seq ~= '' and digest_of(session, seq)
        if not known then
            found[message] = REFUSED
        elseif sealed then
            found[message] = SEALED
        elseif before then
            found[message] = before == digest and DUPLICATE or CONFLICT
        else
            found[message] = session.count
            session.any_new = true
            take(session, prefix, at, after)
            if seq ~= '' then
                note(session, seq, digest)
            end
        end
        at = after
    end
    return session, found, at
end

-- Take ids whose frames have expired out of the index, the oldest first. A frame that came late lives longer than
-- others of its time.
local function trim(session, index)
    local dead = {}
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', now - retention, 'LIMIT', 0, TRIM_MOST)) do
        if redis.call('EXISTS', session.prefix .. id) == 0 then
            dead[#dead + 1] = id
        end
    end
    if #dead > 0 then
        redis.call('ZREM', index, unpack(dead))
    end
end

-- Returns false, having written nothing that counts, if a key is refused; the ledger was read and cannot be.
local function store(session, index)
    local ledger, digests, scores, bodies = session.ledger, session.digests, session.scores, session.bodies
    if #session.run > 0 then
        if not attempt('SETRANGE', digests, 8 * session.run_before, table.concat(session.run)) then
            return false
        end
    end
    for start = 1, #scores, 2 * ZADD_MOST do
        if not attempt('ZADD', index, unpack(scores, start, math.min(start + 2 * ZADD_MOST - 1, #scores))) then
            return false
        end
    end
    for body = 1, #bodies, 2 do
        redis.call('SET', bodies[body], bodies[body + 1], 'EX', retention)
    end
    if session.count % TRIM_EVERY < #bodies / 2 then
        trim(session, index)
    end
    redis.call('EXPIRE', index, retention)
    if #session.joined > 0 then
        redis.call('HDEL', ledger, unpack(session.joined))
    end
    local fields = {
        'count', session.count, 'last', string.format('%.0f', session.last), 'beyond', session.beyond,
    }
    for seq, digest in pairs(session.outside) do
        fields[#fields + 1] = seq
        fields[#fields + 1] = digest
    end
    local prolong = now - session.kept >= PROLONG_SECONDS
    if prolong then
        fields[#fields + 1] = 'kept'
        fields[#fields + 1] = now
    end
    redis.call('HSET', ledger, unpack(fields))
    if prolong or (session.run_before == 0 and session.last > 0) then
        redis.call('EXPIRE', ledger, memory)
        redis.call('EXPIRE', digests, memory)
    end
    return true
end

local epoch = redis.call('GET', KEYS[1])
if not epoch then
    epoch = new_epoch
    redis.call('SET', KEYS[1], epoch)
end
local answers = {epoch, ''}
local at = 5
for key = 2, #KEYS, 4 do
    local ledger, digests, index, seal = unpack(KEYS, key, key + 3)
    local messages = tonumber(ARGV[at + 1])
    local session, found, after = judge(ledger, digests, at, messages, redis.call('EXISTS', seal) == 1)
    local refused = session.any_new and not store(session, index)
    for message = 1, messages do
        -- Also a message that repeats another of this commit has not been stored then.
        answers[#answers + 1] = refused and REFUSED or found[message]
    end
    at = after
end
answers[2] = refusal
return answers
