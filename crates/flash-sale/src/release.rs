//! Returning the units of cancelled or refunded orders.

use std::collections::BTreeMap;

use kit::{Problem, Result, Timestamp, jobs::Queue, log, mysql::Transaction};
use products::StockCount;

use crate::{
    activity::{Task, Tickets, add_booked, lock_open},
    admission,
    ticket::{activity_of, deactivate},
};

/// Returns the units of tickets, at least one, whose orders were cancelled or refunded. Returns for each the count of the
/// product that its unit now belongs to: `reserved` while the sale is open, which puts the unit on sale again, else
/// `available`.
pub async fn release_units(tx: &mut Transaction, tickets: &[&str]) -> Result<Vec<StockCount>> {
    let malformed = || Problem::internal().because("an order's ticket is malformed");
    let sales = tickets.iter().map(|ticket| activity_of(ticket).ok_or_else(malformed));
    let sales = sales.collect::<Result<Vec<_>>>()?;
    let mut by_sale = BTreeMap::<_, Vec<String>>::new();
    for (activity_id, ticket) in sales.iter().zip(tickets) {
        by_sale.entry(*activity_id).or_default().push((*ticket).to_owned());
    }
    let open = lock_open(tx, by_sale.keys().copied()).await?;
    deactivate(tx, tickets).await?;
    let returned =
        by_sale.iter().map(|(id, tickets)| (*id, i64::try_from(tickets.len()).unwrap_or(i64::MAX).saturating_neg()));
    add_booked(tx, &returned.collect::<Vec<_>>()).await?;
    // Also after the sale, to remove the users' tickets from Redis. It is tried right after the commit; the job makes
    // sure that it happens.
    let now = Timestamp::now();
    let give_back = |(activity_id, tickets): (&_, &Vec<_>)| {
        let task = Task::GiveBack { activity_id: *activity_id, ticket: Tickets::new(tickets.clone()) };
        Queue::Drain.job(&task, now)
    };
    tx.enqueue(&by_sale.iter().map(give_back).collect::<Result<Vec<_>>>()?).await?;
    for (activity_id, tickets) in by_sale {
        tx.after_commit(async move {
            log::warn_if_failed(
                "units could not be put on sale again yet",
                admission::return_units(activity_id, &tickets).await,
            );
        });
    }
    Ok(sales.iter().map(|id| if open.contains(id) { StockCount::Reserved } else { StockCount::Available }).collect())
}
