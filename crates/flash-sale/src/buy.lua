-- A ticket for a unit, if the sale and the user's earlier purchases allow it: one round trip.
-- KEYS: the prefix of all keys of the sale. ARGV: the user, a new ticket, requests a second, burst, the user's session, in
-- one text separated by spaces: every parameter costs on its way out of the sandbox.
-- The keys: sale, buyers (user -> tickets), tickets (ticket -> user[:order]), stream, rate:<user>, wake.
-- Returns a word for the outcome and what belongs to it.
local tag = KEYS[1]
local user, ticket, rate, burst, session = ARGV[1]:match('^(%S+) (%S+) (%S+) (%S+) (%S+)$')
if redis.call('EXISTS', 'ended:' .. session) == 1 then return {'signed_out'} end
local sale = redis.call('HMGET', tag .. ':sale', 'starts', 'ends', 'left', 'limit', 'stock')
if not sale[1] then return {'none'} end
local starts, ends, left, limit = tonumber(sale[1]), tonumber(sale[2]), tonumber(sale[3]), tonumber(sale[4])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

-- Generic cell rate algorithm: https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm
local step, rate_key = 1000 / tonumber(rate), tag .. ':rate:' .. user
local arrival = math.max(tonumber(redis.call('GET', rate_key) or 0), now) + step
local wait = math.ceil(arrival - now - step * tonumber(burst))
if wait > 0 then return {'rate', wait} end
redis.call('SET', rate_key, arrival, 'PX', math.ceil(arrival - now) + 1)

local mine = redis.call('HGET', tag .. ':buyers', user)
if limit == 1 and mine then return {'same', mine, redis.call('HGET', tag .. ':tickets', mine) or ''} end
if now < starts then return {'not_started', starts - now} end

-- With the buyers, so that an instance can refuse everybody else from memory for a moment.
local function over(word)
    if tonumber(sale[5]) > 1000 then return {word} end
    local reply = redis.call('HKEYS', tag .. ':buyers')
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

redis.call('HINCRBY', tag .. ':sale', 'left', -1)
redis.call('HSET', tag .. ':buyers', user, mine and (mine .. ',' .. ticket) or ticket)
redis.call('HSET', tag .. ':tickets', ticket, user)
redis.call('XADD', tag .. ':stream', '*', 'ticket', ticket, 'user', user)
if redis.call('SET', tag .. ':wake', '', 'NX', 'PX', 1000) then redis.call('PUBLISH', 'mall:drain', '') end
return {'queued'}
