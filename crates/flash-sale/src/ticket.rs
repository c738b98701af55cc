//! Tickets: `<activity id in hexadecimal>.<random>`, and their rows in `seckill_tickets`.

use std::collections::BTreeSet;

use kit::{
    ActivityId, OrderNo, Result, Timestamp, UserId,
    mysql::{Connection, Transaction, param, placeholders},
    params, random, row, text_column,
};
use strum::{EnumString, IntoStaticStr};

/// The outcome of a ticket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum TicketState {
    Ordered,
    Failed,
}

text_column!(TicketState);

row! {
    /// A ticket that was booked or has failed.
    pub struct BookedTicket {
        pub ticket: String,
        pub user_id: UserId,
        pub status: TicketState,
        pub order_no: Option<OrderNo>,
    }
}

/// A new ticket: the activity and 80 random bits, at most 32 characters.
pub(crate) fn new_ticket(activity_id: ActivityId) -> Result<String> {
    Ok(format!("{:x}.{}", activity_id.get(), random::token::<10>()?))
}

/// The activity of a ticket; none for a malformed one.
pub fn activity_of(ticket: &str) -> Option<ActivityId> {
    let (activity, random) = ticket.split_once('.')?;
    let plausible = ticket.len() <= 32 && random.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b));
    if plausible { i64::from_str_radix(activity, 16).ok()?.try_into().ok() } else { None }
}

/// A ticket's row; none while it is waiting to be booked.
pub async fn booked_ticket(db: &mut Connection, ticket: &str) -> Result<Option<BookedTicket>> {
    let sql = format!("SELECT {} FROM seckill_tickets WHERE ticket = ?", BookedTicket::COLUMNS);
    Ok(db.query_one(&sql, params![ticket]).await?)
}

/// Those of the tickets that have been booked or have failed.
pub(crate) async fn booked_among(tx: &mut Transaction, tickets: &[&str]) -> Result<Vec<BookedTicket>> {
    let sql = format!(
        "SELECT {} FROM seckill_tickets WHERE ticket IN ({})",
        BookedTicket::COLUMNS,
        placeholders(tickets.len())
    );
    Ok(tx.query(&sql, tickets.iter().copied().map(param).collect()).await?)
}

row! {
    /// A ticket whose order was not cancelled or refunded.
    pub struct ActiveTicket { pub ticket: String, pub user_id: UserId, pub order_no: OrderNo }
}

/// The active tickets of a sale.
pub async fn active_tickets(db: &mut Connection, activity_id: ActivityId) -> Result<Vec<ActiveTicket>> {
    let sql = format!(
        "SELECT {} FROM seckill_tickets WHERE activity_id = ? AND live = 1 ORDER BY created_at, ticket",
        ActiveTicket::COLUMNS
    );
    Ok(db.query(&sql, params![activity_id]).await?)
}

row! {
    struct ActiveCount { user_id: UserId, count: i64 as "COUNT(*)" }
}

/// How many active tickets of a sale these users have. Who has none is left out.
pub(crate) async fn count_active(
    tx: &mut Transaction,
    activity_id: ActivityId,
    users: &BTreeSet<UserId>,
) -> Result<Vec<(UserId, i64)>> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let sql = format!(
        "SELECT {} FROM seckill_tickets WHERE activity_id = ? AND live = 1 AND user_id IN ({}) GROUP BY user_id",
        ActiveCount::COLUMNS,
        placeholders(users.len())
    );
    let values = params![activity_id].into_iter().chain(users.iter().copied().map(param)).collect();
    let rows = tx.query::<ActiveCount>(&sql, values).await?;
    Ok(rows.into_iter().map(|row| (row.user_id, row.count)).collect())
}

/// Writes the rows of tickets, at least one; those without an order have failed.
pub(crate) async fn insert(
    tx: &mut Transaction,
    activity_id: ActivityId,
    tickets: &[(&str, UserId, Option<&OrderNo>)],
) -> Result<()> {
    let sql = format!(
        "INSERT INTO seckill_tickets (ticket, activity_id, user_id, status, order_no, live, created_at) VALUES {}",
        vec!["(?, ?, ?, ?, ?, ?, ?)"; tickets.len()].join(", ")
    );
    let now = Timestamp::now();
    let values = tickets.iter().flat_map(|(ticket, user_id, order_no)| {
        let status = if order_no.is_some() { TicketState::Ordered } else { TicketState::Failed };
        params![*ticket, activity_id, *user_id, status, *order_no, order_no.is_some(), now]
    });
    Ok(tx.execute(&sql, values.collect()).await?)
}

/// Marks tickets, at least one, whose orders were cancelled or refunded.
pub(crate) async fn deactivate(tx: &mut Transaction, tickets: &[&str]) -> Result<()> {
    let sql = format!("UPDATE seckill_tickets SET live = 0 WHERE ticket IN ({})", placeholders(tickets.len()));
    Ok(tx.execute(&sql, tickets.iter().copied().map(param).collect()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_names_its_activity_and_is_short() {
        for id in [1, 255, (1 << 53) - 1] {
            let id = ActivityId::try_from(id).unwrap();
            let ticket = new_ticket(id).unwrap();
            assert!(ticket.len() <= 32, "{ticket}");
            assert_eq!(activity_of(&ticket), Some(id));
        }
        for other in ["", ".", "1", "x.y", "-1.abc", "1.a b", "0.abc", &format!("1.{}", "a".repeat(31))] {
            assert_eq!(activity_of(other), None, "{other}");
        }
    }
}
