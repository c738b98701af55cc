//! Admission to a flash sale, in Redis. All keys of a sale have the same hash tag.

use kit::{
    ActivityId, Code, OrderNo, Problem, Result, User, UserId,
    rate_limit::RateLimit,
    redis::{self, RedisResult, Reply, Script, arg, int},
};

use crate::{
    activity::Activity,
    ticket::{ActiveTicket, activity_of, new_ticket},
};

/// How long a sale's keys are kept after its end, in milliseconds. So long, buyers can look up their tickets.
const RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// The most tickets that a worker reads at once.
pub const BATCH: usize = 200;
/// After this time, in milliseconds, another worker takes over tickets that one has read and not acknowledged.
const ABANDONED_MS: i64 = 5_000;

/// The prefix of all keys of a sale.
fn tag(activity_id: ActivityId) -> String {
    format!("{{sk:{activity_id}}}")
}

fn key(activity_id: ActivityId, what: &str) -> String {
    format!("{}:{what}", tag(activity_id))
}

/// KEYS: sale, stream, buyers, tickets. ARGV: `1` to replace an existing sale, the sale's fields and values up to an
/// empty one, then user, ticket and order of each active ticket. Returns 1 if the sale was written, 0 if it exists, -1
/// if tickets are waiting to be booked.
static OPEN: Script = Script::new(
    r"
    pcall(redis.call, 'XGROUP', 'CREATE', KEYS[2], 'drain', '0', 'MKSTREAM')
    if redis.call('EXISTS', KEYS[1]) == 1 then
        if ARGV[1] ~= '1' then return 0 end
        if redis.call('XLEN', KEYS[2]) > 0 then return -1 end
    end
    redis.call('DEL', KEYS[1], KEYS[3], KEYS[4])
    local i = 2
    while ARGV[i] ~= '' do
        redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1])
        i = i + 2
    end
    for j = i + 1, #ARGV, 3 do
        local owned = redis.call('HGET', KEYS[3], ARGV[j])
        redis.call('HSET', KEYS[3], ARGV[j], owned and (owned .. ',' .. ARGV[j + 1]) or ARGV[j + 1])
        redis.call('HSET', KEYS[4], ARGV[j + 1], ARGV[j] .. ':' .. ARGV[j + 2])
    end
    return 1",
);

/// Writes the sale with its active tickets to Redis if it is missing there, or if `replace` is true; returns whether it
/// was written. A conflict if tickets are waiting to be booked: then the number of units left is not known.
pub async fn open(activity: &Activity, active: &[ActiveTicket], replace: bool) -> Result<bool> {
    let id = activity.id;
    let left = if activity.closed_at.is_some() { 0 } else { activity.unsold() };
    let fields = [
        ("starts", activity.starts_at.0),
        ("ends", activity.ends_at.0),
        ("left", left),
        ("limit", activity.per_user_limit),
        ("stock", activity.stock),
    ];
    let mut values = vec![arg(if replace { "1" } else { "" })];
    values.extend(fields.iter().flat_map(|(name, value)| [arg(name), int(*value)]));
    values.push(arg(""));
    values.extend(active.iter().flat_map(|t| [int(t.user_id.get()), arg(&t.ticket), arg(t.order_no.as_str())]));
    let keys = [key(id, "sale"), key(id, "stream"), key(id, "buyers"), key(id, "tickets")];
    let reply = OPEN.run(&keys.each_ref().map(String::as_str), values).await?;
    match reply.int(0) {
        Some(-1) => Err(Problem::conflict().because("tickets are waiting to be booked")),
        written => Ok(written == Some(1)),
    }
}

/// KEYS: sale, stream, buyers, tickets. ARGV: how long to keep them, in milliseconds.
static CLOSE: Script = Script::new(
    r"
    if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'left', 0, 'ends', 0) end
    for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[1]) end
    return 1",
);

/// Ends the sale: from now on no tickets are issued.
pub async fn close(activity_id: ActivityId) -> Result<()> {
    let keys = ["sale", "stream", "buyers", "tickets"].map(|what| key(activity_id, what));
    CLOSE.run(&keys.each_ref().map(String::as_str), vec![int(RETENTION_MS)]).await.map(drop)
}

static BUY: Script = Script::new(concat!(kit::write_lua!(), include_str!("buy.lua")));

/// The outcome of an attempt to buy.
#[derive(Debug)]
pub enum Admission {
    /// A new ticket.
    Queued(String),
    /// The ticket that the user already has, and its order if there is one.
    Existing(String, Option<OrderNo>),
    /// Redis does not have the sale.
    Unknown,
    /// Refused. If everybody but the buyers is refused, too, it has the list of buyers.
    Refused(Problem, Option<Vec<UserId>>),
}

/// Tries to get a ticket. `limit` is a user's limit in each sale; the purchase also counts as a write.
pub async fn buy(activity_id: ActivityId, user: User, limit: RateLimit) -> Result<Admission> {
    let ticket = new_ticket(activity_id)?;
    let RateLimit { rate, burst } = limit;
    let values = arg(format!("{} {ticket} {rate} {burst}", user.id));
    let reply = BUY.run_write(user.id, user.session_id, &[&tag(activity_id)], vec![values]).await?;
    let refused = |code, detail: &str| Admission::Refused(Problem::new(code, detail), buyers_of(&reply));
    Ok(match reply.text(0).unwrap_or_default() {
        "queued" => Admission::Queued(ticket),
        "same" => {
            let order_no = reply.text(2).and_then(|value| value.split_once(':')?.1.parse().ok());
            Admission::Existing(reply.text(1).unwrap_or_default().to_owned(), order_no)
        }
        "none" => Admission::Unknown,
        "not_started" => refused(Code::SeckillNotStarted, "The sale has not started"),
        "ended" => refused(Code::SeckillEnded, "The sale has ended"),
        "limit" => refused(Code::SeckillLimit, "You have reached the limit per customer"),
        "sold_out" => refused(Code::SeckillSoldOut, "The sale is sold out"),
        other => return Err(Problem::internal().because(format!("the purchase script answered {other}"))),
    })
}

fn buyers_of(reply: &[RedisResult]) -> Option<Vec<UserId>> {
    let is_list = reply.text(1) == Some("buyers");
    is_list.then(|| (2..reply.len()).filter_map(|at| reply.int(at)?.try_into().ok()).collect())
}

/// The user of a ticket; none if Redis does not have the ticket.
pub async fn ticket_owner(ticket: &str) -> Result<Option<UserId>> {
    let Some(activity_id) = activity_of(ticket) else { return Ok(None) };
    let reply = redis::command("HGET", vec![arg(key(activity_id, "tickets")), arg(ticket)]).await?;
    Ok(reply.text(0).and_then(|value| value.split(':').next()?.parse().ok()))
}

/// KEYS: sales.
static LEFT: Script = Script::new(
    r"
    local left = {}
    for i, key in ipairs(KEYS) do left[i] = redis.call('HGET', key, 'left') or '' end
    return left",
);

/// The number of units left of each sale; none if Redis does not have it.
pub async fn left(activity_ids: &[ActivityId]) -> Result<Vec<Option<i64>>> {
    if activity_ids.is_empty() {
        return Ok(Vec::new());
    }
    let keys: Vec<_> = activity_ids.iter().map(|id| key(*id, "sale")).collect();
    let reply = LEFT.run(&keys.iter().map(String::as_str).collect::<Vec<_>>(), vec![]).await?;
    Ok((0..keys.len()).map(|at| reply.int(at)).collect())
}

/// KEYS: sale, buyers, tickets. ARGV: tickets.
static RETURN_UNITS: Script = Script::new(
    r"
    local returned = 0
    for _, returning in ipairs(ARGV) do
        local value = redis.call('HGET', KEYS[3], returning)
        if value then
            redis.call('HDEL', KEYS[3], returning)
            local user = value:match('^[^:]*')
            local rest = {}
            for ticket in (redis.call('HGET', KEYS[2], user) or ''):gmatch('[^,]+') do
                if ticket ~= returning then table.insert(rest, ticket) end
            end
            if #rest > 0 then
                redis.call('HSET', KEYS[2], user, table.concat(rest, ','))
            else
                redis.call('HDEL', KEYS[2], user)
            end
            returned = returned + 1
        end
    end
    if returned > 0 and redis.call('HGET', KEYS[1], 'ends') ~= '0' then
        redis.call('HINCRBY', KEYS[1], 'left', returned)
    end
    return returned",
);

/// Puts the units of tickets on sale again, each once, and allows their users to buy again.
pub async fn return_units(activity_id: ActivityId, tickets: &[String]) -> Result<()> {
    let keys = ["sale", "buyers", "tickets"].map(|what| key(activity_id, what));
    RETURN_UNITS.run(&keys.each_ref().map(String::as_str), tickets.iter().map(arg).collect()).await.map(drop)
}

/// Whether Redis has the sale.
pub async fn is_open(activity_id: ActivityId) -> Result<bool> {
    Ok(redis::command("EXISTS", vec![arg(key(activity_id, "sale"))]).await?.int(0) == Some(1))
}

/// Clears the mark of the pending wake-up: from now on a new ticket sends another one.
pub async fn clear_wake(activity_id: ActivityId) -> Result<()> {
    redis::command("DEL", vec![arg(key(activity_id, "wake"))]).await.map(drop)
}

/// A ticket in the stream, which is waiting to be booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its id in the stream.
    pub id: String,
    pub ticket: String,
    pub user_id: UserId,
}

/// Reads tickets that are waiting to be booked: first those that another worker has read and not acknowledged, then new
/// ones.
pub async fn read_tickets(activity_id: ActivityId, consumer: &str) -> Result<Vec<Entry>> {
    let stream = key(activity_id, "stream");
    let claim = vec![
        arg(&stream),
        arg("drain"),
        arg(consumer),
        int(ABANDONED_MS),
        arg("0-0"),
        arg("COUNT"),
        arg(BATCH.to_string()),
    ];
    let abandoned = redis::command("XAUTOCLAIM", claim).await?;
    // The first value is the cursor; the ids of deleted entries follow the entries.
    let entries = entries(abandoned.get(1..).unwrap_or_default());
    if !entries.is_empty() {
        return Ok(entries);
    }
    read_new(&stream, consumer).await
}

async fn read_new(stream: &str, consumer: &str) -> Result<Vec<Entry>> {
    let read = vec![
        arg("GROUP"),
        arg("drain"),
        arg(consumer),
        arg("COUNT"),
        arg(BATCH.to_string()),
        arg("STREAMS"),
        arg(stream),
        arg(">"),
    ];
    let reply = redis::command("XREADGROUP", read).await?;
    // The first value is the stream's name.
    Ok(entries(reply.get(1..).unwrap_or_default()))
}

/// Decodes a reply, which is one flat list: the id, then `ticket`, its value, `user`, its value.
fn entries(reply: &[RedisResult]) -> Vec<Entry> {
    reply
        .chunks_exact(5)
        .map_while(|fields| {
            let is_entry = fields.text(1) == Some("ticket") && fields.text(3) == Some("user");
            let entry = || {
                Some(Entry {
                    id: fields.text(0)?.to_owned(),
                    ticket: fields.text(2)?.to_owned(),
                    user_id: fields.int(4)?.try_into().ok()?,
                })
            };
            if is_entry { entry() } else { None }
        })
        .collect()
}

/// KEYS: stream, tickets. ARGV: for each entry its id, ticket and order, which is empty for a ticket that failed.
static ACKNOWLEDGE: Script = Script::new(
    r"
    for i = 1, #ARGV, 3 do
        redis.call('XACK', KEYS[1], 'drain', ARGV[i])
        redis.call('XDEL', KEYS[1], ARGV[i])
        local user = redis.call('HGET', KEYS[2], ARGV[i + 1])
        if user and ARGV[i + 2] ~= '' then
            redis.call('HSET', KEYS[2], ARGV[i + 1], user:match('^[^:]*') .. ':' .. ARGV[i + 2])
        end
    end
    return 1",
);

/// Acknowledges entries, each with its order if it has one.
pub async fn acknowledge(activity_id: ActivityId, done: &[(Entry, Option<OrderNo>)]) -> Result<()> {
    let (stream, tickets) = (key(activity_id, "stream"), key(activity_id, "tickets"));
    let values = done.iter().flat_map(|(entry, order_no)| {
        [arg(&entry.id), arg(&entry.ticket), arg(order_no.as_ref().map(OrderNo::as_str).unwrap_or_default())]
    });
    ACKNOWLEDGE.run(&[&stream, &tickets], values.collect()).await.map(drop)
}

/// The number of tickets that are waiting to be booked.
pub async fn backlog(activity_id: ActivityId) -> Result<i64> {
    let reply = redis::command("XLEN", vec![arg(key(activity_id, "stream"))]).await?;
    Ok(reply.int(0).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> RedisResult {
        RedisResult::Binary(text.as_bytes().to_vec())
    }

    #[test]
    fn decodes_entries_up_to_the_deleted_ones() {
        let reply =
            ["1-0", "ticket", "t1", "user", "7", "2-0", "ticket", "t2", "user", "8", "3-0", "4-0", "5-0", "6-0", "7-0"];
        let entries = entries(&reply.map(text));
        assert_eq!(
            entries.iter().map(|e| (e.ticket.as_str(), e.user_id.get())).collect::<Vec<_>>(),
            [("t1", 7), ("t2", 8)]
        );
    }
}
