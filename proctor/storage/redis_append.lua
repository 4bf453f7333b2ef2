-- Store one session's part of a group commit: every message whole or not at all, and nothing in between.
-- KEYS: count, index, seqs, seal.
-- ARGV: prefix of the frames' keys, seconds that frames live, seconds that the rest lives; then for each message
--       its seq or '', its digest, how many frames follow, and for each of those its time in ms and its head.
-- Returns one number per message, the position of its outcome in Python's OUTCOMES.
local count_key, index_key, seqs_key, seal_key = unpack(KEYS)
local prefix, retention, memory = unpack(ARGV, 1, 3)
local STORED, DUPLICATE, CONFLICT, SEALED = 0, 1, 2, 3

-- Everything that a key of the wrong type could make fail is read before anything is written.
local sealed = redis.call('EXISTS', seal_key) == 1
local number = tonumber(redis.call('GET', count_key) or 0)
redis.call('HLEN', seqs_key)
redis.call('ZCARD', index_key)

local outcomes = {}
local wrote = false
local at = 4
while at <= #ARGV do
    local seq, digest, after = ARGV[at], ARGV[at + 1], at + 3 + 2 * ARGV[at + 2]
    local known = seq ~= '' and redis.call('HGET', seqs_key, seq)
    local outcome = STORED
    if sealed then
        outcome = SEALED
    elseif known then
        outcome = known == digest and DUPLICATE or CONFLICT
    else
        for frame = at + 3, after - 1, 2 do
            local time_ms = ARGV[frame]
            local id = time_ms .. '-' .. number
            redis.call('SET', prefix .. id, ARGV[frame + 1] .. id .. '"}', 'EX', retention)
            redis.call('ZADD', index_key, time_ms / 1000, id)
            number = number + 1
        end
        if seq ~= '' then
            redis.call('HSET', seqs_key, seq, digest)
        end
        wrote = true
    end
    outcomes[#outcomes + 1] = outcome
    at = after
end

if wrote then
    redis.call('SET', count_key, number, 'EX', memory)
    redis.call('EXPIRE', index_key, retention)
    redis.call('EXPIRE', seqs_key, memory)
end
return outcomes
