//! What every write of a user must pass, in one round trip: the session has not ended, the user's writes are not too many,
//! and the request's time is not up.

use std::time::Duration;

use crate::{
    Code, Context, Problem, Result, SessionId, Timestamp, UserId,
    context::WORK_TIME,
    rate_limit::{self, RateLimit, rate_limited},
    redis::{RedisParameter, RedisResult, Reply, Script, arg},
};

/// A script that writes must run at least this long before its request gives up: our estimate of the server's clock may be
/// off by as much.
const MARGIN: Duration = Duration::from_millis(500);

/// The limit of a user's writes.
async fn write_limit() -> Result<RateLimit> {
    RateLimit::from_variable("write_limit").await
}

/// Counts a write of this user that needs no access token; 429 above the write limit.
pub async fn limit_writes(user_id: UserId) -> Result<()> {
    rate_limit::limit(&format!("write:{user_id}"), write_limit().await?).await
}

/// 401 for the token of a session that has ended.
pub fn session_ended() -> Problem {
    Problem::new(Code::Unauthenticated, "The session has ended")
}

impl Script {
    /// Runs a script that must begin with [`write_lua!`](crate::write_lua) for a write of this user: 401 if the session has
    /// ended, 429 above the write limit. It changes nothing after the request's time, even if the server hangs and
    /// executes it when it comes back.
    pub async fn run_write(
        &'static self,
        user_id: UserId,
        session_id: SessionId,
        keys: &[&str],
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>> {
        let RateLimit { rate, burst } = write_limit().await?;
        self.check_and_run(format!("{session_id} {user_id} {rate} {burst}"), keys, arguments).await
    }

    /// The same for a write that has been counted already.
    pub async fn run_write_again(
        &'static self,
        user_id: UserId,
        session_id: SessionId,
        keys: &[&str],
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>> {
        self.check_and_run(format!("{session_id} {user_id} 0 0"), keys, arguments).await
    }

    /// `write` is one text, since every argument of a call from the sandbox to the host takes time.
    async fn check_and_run(
        &'static self,
        write: String,
        keys: &[&str],
        arguments: Vec<RedisParameter>,
    ) -> Result<Vec<RedisResult>> {
        let time_left = Context::current().map_or(WORK_TIME, |context| context.time_left()).saturating_sub(MARGIN);
        let end = Timestamp::now().0.saturating_add(i64::try_from(time_left.as_millis()).unwrap_or(i64::MAX));
        let last = move |clock_offset_ms: i64| arg(format!("{} {write}", end.saturating_add(clock_offset_ms)));
        let reply = self.run_by_clock(keys, arguments, last).await?;
        if reply.text(0) != Some("refused") {
            return Ok(reply);
        }
        Err(match reply.int(1) {
            Some(wait) if wait > 0 => rate_limited(wait),
            Some(-1) => session_ended(),
            _ => Problem::unavailable().because("Redis executed the script too late"),
        })
    }
}

/// Lua for the beginning of a script that is called by [`Script::run_write`]. It takes the last argument, and returns if
/// the write is refused. Also defines what [`rate_limit_lua!`](crate::rate_limit_lua) does.
#[macro_export]
macro_rules! write_lua {
    () => {
        concat!(
            $crate::rate_limit_lua!(),
            "
            do
                local till, session, user, rate, burst =
                    table.remove(ARGV):match('^(%S+) (%S+) (%S+) (%S+) (%S+)$')
                if now > tonumber(till) then return {'refused', -2} end
                local key = 'rate:write:' .. user
                local found = redis.call('MGET', 'ended:' .. session, key)
                if found[1] then return {'refused', -1} end
                local wait = rate ~= '0' and take(key, found[2], rate, burst) or 0
                if wait > 0 then return {'refused', wait} end
            end
            "
        )
    };
}
