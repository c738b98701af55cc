-- Issues a ticket for a unit, if the sale and the user's earlier purchases allow it, in one round trip.
-- KEYS: the prefix of all keys of the sale.
-- ARGV: user, new ticket, and the sale's requests per second and burst, in one text separated by spaces, since every
-- argument of a call from the sandbox to the host takes time.
-- The sale's keys: sale, buyers (user -> tickets), tickets (ticket -> user[:order]), stream, rate:<user>, wake.
-- What precedes this text checks the write, and defines `take` and `now`. Returns the outcome and its values.
local tag = KEYS[1]
local user, ticket, rate, burst = ARGV[1]:match('^(%S+) (%S+) (%S+) (%S+)$')
local sale = redis.call('HMGET', tag .. ':sale', 'starts', 'ends', 'left', 'limit', 'stock')
if not sale[1] then return {'none'} end
local starts, ends, left, limit = tonumber(sale[1]), tonumber(sale[2]), tonumber(sale[3]), tonumber(sale[4])
local rate_key = tag .. ':rate:' .. user
local wait = take(rate_key, redis.call('GET', rate_key), rate, burst)
if wait > 0 then return {'refused', wait} end

local existing = redis.call('HGET', tag .. ':buyers', user)
if limit == 1 and existing then return {'same', existing, redis.call('HGET', tag .. ':tickets', existing) or ''} end
if now < starts then return {'not_started', starts - now} end

-- Also returns the buyers, so that an instance can refuse everybody else from its own cache for a moment.
local function refuse_all(outcome)
    if tonumber(sale[5]) > 1000 then return {outcome} end
    local reply = redis.call('HKEYS', tag .. ':buyers')
    table.insert(reply, 1, 'buyers')
    table.insert(reply, 1, outcome)
    return reply
end
if now >= ends then return refuse_all('ended') end
if existing then
    local _, commas = string.gsub(existing, ',', ',')
    if commas + 1 >= limit then return {'limit'} end
end
if left <= 0 then return refuse_all('sold_out') end

redis.call('HINCRBY', tag .. ':sale', 'left', -1)
redis.call('HSET', tag .. ':buyers', user, existing and (existing .. ',' .. ticket) or ticket)
redis.call('HSET', tag .. ':tickets', ticket, user)
redis.call('XADD', tag .. ':stream', '*', 'ticket', ticket, 'user', user)
if redis.call('SET', tag .. ':wake', '', 'NX', 'PX', 1000) then redis.call('PUBLISH', 'mall:drain', '') end
return {'queued'}
