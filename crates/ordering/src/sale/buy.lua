-- A ticket for a unit on sale, if the sale and the user's own record allow it: one round trip.
-- KEYS: the sale, buyers (user -> tickets), tickets (ticket -> user[:order]), stream, the user's rate, bell, the key that
-- says that the user's session has ended. ARGV: user, a new ticket, requests a second, burst, the activity.
-- Answers a word and what belongs to it.
if redis.call('EXISTS', KEYS[7]) == 1 then return {'signed_out'} end
local sale = redis.call('HMGET', KEYS[1], 'starts', 'ends', 'left', 'limit', 'stock')
if not sale[1] then return {'none'} end
local starts, ends, left, limit = tonumber(sale[1]), tonumber(sale[2]), tonumber(sale[3]), tonumber(sale[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Generic cell rate algorithm: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
local step = 1000 / tonumber(ARGV[3])
local arrival = math.max(tonumber(redis.call('GET', KEYS[5]) or 0), now) + step
local wait = math.ceil(arrival - now - step * tonumber(ARGV[4]))
if wait > 0 then return {'rate', wait} end
redis.call('SET', KEYS[5], arrival, 'PX', math.ceil(arrival - now) + 1)

local user, mine = ARGV[1], redis.call('HGET', KEYS[2], ARGV[1])
if limit == 1 and mine then return {'same', mine, redis.call('HGET', KEYS[3], mine) or ''} end
if now < starts then return {'not_started', starts - now} end

-- With who has tickets, so that an instance can answer all others from memory for a moment.
local function over(word)
    if tonumber(sale[5]) > 1000 then return {word} end
    local reply = redis.call('HKEYS', KEYS[2])
    table.insert(reply, 1, 'buyers')
    table.insert(reply, 1, word)
    return reply
end
if now >= ends then return over('ended') end
if mine then
    local _, commas = string.gsub(mine, ',', ',')
    if commas + 1 >= limit then return {'limit'} end
end
if left <= 0 then return over('sold_out') end

local ticket = ARGV[2]
redis.call('HINCRBY', KEYS[1], 'left', -1)
redis.call('HSET', KEYS[2], user, mine and (mine .. ',' .. ticket) or ticket)
redis.call('HSET', KEYS[3], ticket, user)
redis.call('XADD', KEYS[4], '*', 'ticket', ticket, 'user', user)
if redis.call('SET', KEYS[6], '', 'NX', 'PX', 1000) then redis.call('PUBLISH', 'mall:drain', ARGV[5]) end
return {'queued'}
