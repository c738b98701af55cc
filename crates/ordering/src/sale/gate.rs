//! The flash sale as Redis has it: who is let in. All keys of a sale carry the same hash tag.

use kit::{
    Code, Problem, Result, auth, opaque,
    redis::{self, RedisResult, Reply, Script, arg, int},
};

use super::Activity;

/// How long a sale's keys are kept after its end, in milliseconds: so long, who asks again gets the same ticket.
const KEPT_MS: i64 = 7 * 24 * 60 * 60 * 1000;
/// What a worker reads at once.
pub const BATCH: usize = 200;
/// After that long what a worker has read and not acknowledged is another's, in milliseconds.
const ABANDONED_MS: i64 = 5_000;

/// What all keys of a sale begin with.
fn tag(activity_id: i64) -> String {
    format!("{{sk:{activity_id}}}")
}

fn key(activity_id: i64, what: &str) -> String {
    format!("{}:{what}", tag(activity_id))
}

/// KEYS: sale, stream, buyers, tickets. ARGV: whether to replace what is there, the sale's fields and values up to an
/// empty one, then user, ticket and order of tickets that stand. Returns whether the sale was written.
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
        local mine = redis.call('HGET', KEYS[3], ARGV[j])
        redis.call('HSET', KEYS[3], ARGV[j], mine and (mine .. ',' .. ARGV[j + 1]) or ARGV[j + 1])
        redis.call('HSET', KEYS[4], ARGV[j + 1], ARGV[j] .. ':' .. ARGV[j + 2])
    end
    return 1",
);

/// A ticket that stands, for a sale that is written anew.
pub struct Standing {
    pub ticket: String,
    pub user_id: i64,
    pub order_no: String,
}

/// Writes the sale, if it is not there or `replace` says so; whether it was written. A conflict if tickets wait to be
/// booked: then nobody can say what is left.
pub async fn open(activity: &Activity, standing: &[Standing], replace: bool) -> Result<bool> {
    let id = activity.id;
    let left = if activity.closed_at.is_some() { 0 } else { activity.stock.saturating_sub(activity.booked) };
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
    values.extend(standing.iter().flat_map(|s| [int(s.user_id), arg(&s.ticket), arg(&s.order_no)]));
    let keys = [key(id, "sale"), key(id, "stream"), key(id, "buyers"), key(id, "tickets")];
    let reply = OPEN.run(&keys.each_ref().map(String::as_str), values).await?;
    match reply.int(0) {
        Some(-1) => Err(Problem::conflict()),
        written => Ok(written == Some(1)),
    }
}

/// No more tickets. Returns nothing of use.
static CLOSE: Script = Script::new(
    r"
    if redis.call('EXISTS', KEYS[1]) == 1 then redis.call('HSET', KEYS[1], 'left', 0, 'ends', 0) end
    for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[1]) end
    return 1",
);

/// Ends the sale: from here on nobody gets a ticket.
pub async fn close(activity_id: i64) -> Result<()> {
    let keys = ["sale", "stream", "buyers", "tickets"].map(|what| key(activity_id, what));
    CLOSE.run(&keys.each_ref().map(String::as_str), vec![int(KEPT_MS)]).await.map(drop)
}

static BUY: Script = Script::new(include_str!("buy.lua"));

/// What came of an attempt to buy.
#[derive(Debug)]
pub enum Admission {
    /// A new ticket.
    Queued(String),
    /// The one that the user has, and its order once there is one.
    Same(String, Option<String>),
    /// Redis has no such sale.
    Unknown,
    /// Refused. If it is over for all but these users, who they are.
    Refused(Problem, Option<Vec<i64>>),
}

/// How fast a user may ask: so many requests a second, and so many at once.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    pub rate: i64,
    pub burst: i64,
}

/// Draws a ticket.
pub async fn buy(activity_id: i64, user_id: i64, session_id: i64, pace: Pace) -> Result<Admission> {
    let ticket = new_ticket(activity_id)?;
    let Pace { rate, burst } = pace;
    let values = vec![arg(format!("{user_id} {ticket} {rate} {burst} {session_id}"))];
    let reply = BUY.run(&[&tag(activity_id)], values).await?;
    let refused = |code, detail: &str| Admission::Refused(Problem::new(code, detail), buyers_of(&reply));
    Ok(match reply.text(0).unwrap_or_default() {
        "queued" => Admission::Queued(ticket),
        "same" => {
            let order_no = reply.text(2).and_then(|held| held.split_once(':')).map(|(_, order_no)| order_no.to_owned());
            Admission::Same(reply.text(1).unwrap_or_default().to_owned(), order_no)
        }
        "none" => Admission::Unknown,
        "signed_out" => Admission::Refused(auth::session_ended(), None),
        "rate" => Admission::Refused(kit::rate::too_fast(reply.int(1).unwrap_or_default()), None),
        "not_started" => refused(Code::SeckillNotStarted, "The sale has not started"),
        "ended" => refused(Code::SeckillEnded, "The sale has ended"),
        "limit" => refused(Code::SeckillLimit, "You have as many as one user may buy"),
        "sold_out" => refused(Code::SeckillSoldOut, "Everything is sold"),
        _ => return Err(Problem::internal()),
    })
}

fn buyers_of(reply: &[RedisResult]) -> Option<Vec<i64>> {
    let is_list = reply.text(1) == Some("buyers");
    is_list.then(|| (2..reply.len()).filter_map(|at| reply.int(at)).collect())
}

/// The activity, then eighty random bits: at most 32 letters, digits, `_` and `-`.
fn new_ticket(activity_id: i64) -> Result<String> {
    let random = opaque::to_base64(&opaque::random::<10>()?);
    Ok(format!("{activity_id:x}.{random}"))
}

/// The activity of a ticket; none for what can't be one.
pub fn activity_of(ticket: &str) -> Option<i64> {
    let (activity, random) = ticket.split_once('.')?;
    let plausible = ticket.len() <= 32 && random.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if plausible { i64::from_str_radix(activity, 16).ok().filter(|id| *id > 0) } else { None }
}

/// A ticket's user, and its order once there is one; none if Redis does not know it, or no longer.
pub async fn holder(ticket: &str) -> Result<Option<(i64, Option<String>)>> {
    let Some(activity_id) = activity_of(ticket) else { return Ok(None) };
    let reply = redis::command("HGET", vec![arg(key(activity_id, "tickets")), arg(ticket)]).await?;
    let Some(held) = reply.text(0) else { return Ok(None) };
    let (user_id, order_no) = held.split_once(':').map_or((held, None), |(user, order)| (user, Some(order.to_owned())));
    Ok(user_id.parse().ok().map(|user_id| (user_id, order_no)))
}

/// How many are left; none if Redis does not know the sale.
pub async fn left(activity_id: i64) -> Result<Option<i64>> {
    let reply = redis::command("HGET", vec![arg(key(activity_id, "sale")), arg("left")]).await?;
    Ok(reply.int(0))
}

/// KEYS: sale, buyers, tickets. ARGV: a ticket. Its unit is on sale again, once, and its user may buy again.
static GIVE_BACK: Script = Script::new(
    r"
    local held = redis.call('HGET', KEYS[3], ARGV[1])
    if not held then return 0 end
    redis.call('HDEL', KEYS[3], ARGV[1])
    local user = held:match('^[^:]*')
    local rest = {}
    for ticket in (redis.call('HGET', KEYS[2], user) or ''):gmatch('[^,]+') do
        if ticket ~= ARGV[1] then table.insert(rest, ticket) end
    end
    if #rest > 0 then redis.call('HSET', KEYS[2], user, table.concat(rest, ',')) else redis.call('HDEL', KEYS[2], user) end
    if redis.call('HGET', KEYS[1], 'ends') ~= '0' then redis.call('HINCRBY', KEYS[1], 'left', 1) end
    return 1",
);

/// Puts a ticket's unit on sale again, if it was not yet.
pub async fn give_back(activity_id: i64, ticket: &str) -> Result<()> {
    let keys = ["sale", "buyers", "tickets"].map(|what| key(activity_id, what));
    GIVE_BACK.run(&keys.each_ref().map(String::as_str), vec![arg(ticket)]).await.map(drop)
}

/// Whether Redis has the sale.
pub async fn is_open(activity_id: i64) -> Result<bool> {
    Ok(redis::command("EXISTS", vec![arg(key(activity_id, "sale"))]).await?.int(0) == Some(1))
}

/// From here on a bell is heard anew.
pub async fn hush(activity_id: i64) -> Result<()> {
    redis::command("DEL", vec![arg(key(activity_id, "bell"))]).await.map(drop)
}

/// A ticket that waits to be booked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the stream.
    pub id: String,
    pub ticket: String,
    pub user_id: i64,
}

/// Tickets that wait: first those that a worker took and left, then new ones.
pub async fn waiting(activity_id: i64, consumer: &str) -> Result<Vec<Entry>> {
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
    // Behind the cursor, and before the ids of entries that are gone.
    let entries = entries(abandoned.get(1..).unwrap_or_default());
    if !entries.is_empty() {
        return Ok(entries);
    }
    fresh(&stream, consumer).await
}

async fn fresh(stream: &str, consumer: &str) -> Result<Vec<Entry>> {
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
    // Behind the stream's name.
    Ok(entries(reply.get(1..).unwrap_or_default()))
}

/// A reply comes as one list without boundaries: the id, then `ticket`, its value, `user`, its value.
fn entries(reply: &[RedisResult]) -> Vec<Entry> {
    reply
        .chunks_exact(5)
        .map_while(|fields| {
            let is_entry = fields.text(1) == Some("ticket") && fields.text(3) == Some("user");
            let entry = || {
                Some(Entry {
                    id: fields.text(0)?.to_owned(),
                    ticket: fields.text(2)?.to_owned(),
                    user_id: fields.int(4).unwrap_or_default(),
                })
            };
            if is_entry { entry() } else { None }
        })
        .collect()
}

/// KEYS: stream, tickets. ARGV: triples of the entry's id, ticket and order, which is empty for a ticket that failed.
static BOOKED: Script = Script::new(
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
pub async fn booked(activity_id: i64, done: &[(Entry, Option<String>)]) -> Result<()> {
    let (stream, tickets) = (key(activity_id, "stream"), key(activity_id, "tickets"));
    let values = done.iter().flat_map(|(entry, order_no)| {
        [arg(&entry.id), arg(&entry.ticket), arg(order_no.as_deref().unwrap_or_default())]
    });
    BOOKED.run(&[&stream, &tickets], values.collect()).await.map(drop)
}

/// How many tickets wait to be booked.
pub async fn backlog(activity_id: i64) -> Result<i64> {
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
    fn a_ticket_names_its_activity_and_is_short() {
        for id in [1, 255, (1 << 53) - 1] {
            let ticket = new_ticket(id).unwrap();
            assert!(ticket.len() <= 32, "{ticket}");
            assert_eq!(activity_of(&ticket), Some(id));
        }
        for other in ["", ".", "1", "x.y", "-1.abc", "1.a b", "0.abc", &format!("1.{}", "a".repeat(31))] {
            assert_eq!(activity_of(other), None, "{other}");
        }
    }

    #[test]
    fn entries_end_where_something_else_begins() {
        let reply =
            ["1-0", "ticket", "t1", "user", "7", "2-0", "ticket", "t2", "user", "8", "3-0", "4-0", "5-0", "6-0", "7-0"];
        let entries = entries(&reply.map(text));
        assert_eq!(entries.iter().map(|e| (e.ticket.as_str(), e.user_id)).collect::<Vec<_>>(), [("t1", 7), ("t2", 8)]);
    }
}
