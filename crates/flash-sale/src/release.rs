//! Returning the unit of a cancelled or refunded order.

use kit::{Problem, Result, Timestamp, jobs::Queue, log, mysql::Transaction};
use products::StockCount;

use crate::{
    activity::{Task, add_booked, lock},
    admission,
    ticket::{activity_of, deactivate},
};

/// Returns the unit of a ticket whose order was cancelled or refunded. Returns the count of the product that the unit
/// now belongs to: `reserved` while the sale is open, which puts the unit on sale again, else `available`.
pub async fn release_unit(tx: &mut Transaction, ticket: &str) -> Result<StockCount> {
    let activity_id =
        activity_of(ticket).ok_or_else(|| Problem::internal().because("the order's ticket is malformed"))?;
    let activity = lock(tx, activity_id).await?;
    deactivate(tx, ticket).await?;
    add_booked(tx, activity_id, -1).await?;
    // Also after the sale, to remove the user's ticket from Redis. It is tried right after the commit; the job makes
    // sure that it happens.
    let task = Task::GiveBack { activity_id, ticket: ticket.to_owned() };
    tx.enqueue(&[Queue::Drain.job(&task, Timestamp::now())?]).await?;
    let ticket = ticket.to_owned();
    tx.after_commit(async move {
        log::warn_if_failed(
            "a unit could not be put on sale again yet",
            admission::return_unit(activity_id, &ticket).await,
        );
    });
    Ok(if activity.closed_at.is_none() { StockCount::Reserved } else { StockCount::Available })
}
