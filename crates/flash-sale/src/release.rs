//! The end of an order that came from a sale.

use kit::{Problem, Result, Timestamp, jobs::Queue, log, mysql::Transaction};
use products::StockCount;

use crate::{
    activity::{Task, add_booked, lock},
    admission,
    ticket::{activity_of, deactivate},
};

/// Releases the unit of a ticket whose order no longer stands; the count of the product that the unit goes back to. While
/// the sale is open that is `reserved`, and the unit is on sale again.
pub async fn release_unit(tx: &mut Transaction, ticket: &str) -> Result<StockCount> {
    let activity_id =
        activity_of(ticket).ok_or_else(|| Problem::internal().because("the order's ticket names no sale"))?;
    let activity = lock(tx, activity_id).await?;
    deactivate(tx, ticket).await?;
    add_booked(tx, activity_id, -1).await?;
    // Even after the sale: so the user's ticket is forgotten. It happens at once, and the job makes it certain.
    let task = Task::GiveBack { activity_id, ticket: ticket.to_owned() };
    tx.enqueue(&[Queue::Drain.job(&task, Timestamp::now())?]).await?;
    let ticket = ticket.to_owned();
    tx.after_commit(async move {
        log::warn_if_failed("a unit is not on sale again yet", admission::return_unit(activity_id, &ticket).await);
    });
    Ok(if activity.closed_at.is_none() { StockCount::Reserved } else { StockCount::Available })
}
