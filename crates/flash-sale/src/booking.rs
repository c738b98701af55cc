//! Books tickets as orders, in batches. A ticket is booked once, even if the worker dies between the commit and the
//! acknowledgement.

use std::collections::{BTreeMap, BTreeSet};

use kit::{
    ActivityId, Cents, Code, OrderNo, Problem, Result, Timestamp, config,
    jobs::Queue,
    log,
    mysql::{self, Transaction},
};
use ordering::{Order, OrderItem, PlacedOrder, Quote};
use products::{
    ProductSummary,
    summary::{self, Lock},
};

use crate::{
    activity::{Activity, Task, Tickets, add_booked, lock},
    admission::{self, Entry},
    ticket::{self, booked_among},
};

/// Settings for the orders of a sale.
#[derive(Debug, Clone)]
pub struct Terms {
    currency: String,
    /// The time to pay, in seconds.
    ttl_seconds: i64,
}

impl Terms {
    pub async fn configured() -> Result<Self> {
        let ttl_seconds = config::number("order_ttl_seconds", 1, 31_536_000).await?;
        Ok(Terms { currency: config::currency().await?, ttl_seconds })
    }
}

/// Books the next batch of waiting tickets; returns how many there were.
pub async fn book_batch(activity_id: ActivityId, consumer: &str, terms: &Terms) -> Result<usize> {
    let entries = admission::read_tickets(activity_id, consumer).await?;
    if entries.is_empty() {
        return Ok(0);
    }
    let count = entries.len();
    // A failed batch is halved until the bad ticket is on its own, so that it does not block the others.
    let mut parts = vec![entries];
    while let Some(part) = parts.pop() {
        let result = mysql::transaction(async |tx| book(tx, activity_id, &part, terms).await).await;
        match result {
            Ok(done) => admission::acknowledge(activity_id, &done).await?,
            // Not because of a ticket: the batch is retried later.
            Err(problem) if problem.is_outage() => return Err(problem),
            Err(problem) if part.len() == 1 && problem.code == Code::Unavailable => return Err(problem),
            Err(problem) => match part.as_slice() {
                [entry] => fail(activity_id, entry, &problem).await?,
                several => {
                    let (a, b) = several.split_at(several.len() / 2);
                    parts.extend([b.to_vec(), a.to_vec()]);
                }
            },
        }
    }
    Ok(count)
}

/// Creates the orders for tickets. Returns the tickets, each with its order if it has one.
async fn book(
    tx: &mut Transaction,
    activity_id: ActivityId,
    entries: &[Entry],
    terms: &Terms,
) -> Result<Vec<(Entry, Option<OrderNo>)>> {
    let activity = lock(tx, activity_id).await?;
    let tickets: Vec<_> = entries.iter().map(|entry| entry.ticket.as_str()).collect();
    let booked = booked_among(tx, &tickets).await?;
    let (mut done, mut seen, mut new) = (Vec::new(), BTreeSet::new(), Vec::new());
    for entry in entries {
        match booked.iter().find(|row| row.ticket == entry.ticket) {
            Some(row) => done.push((entry.clone(), row.order_no.clone())),
            None if seen.insert(&entry.ticket) => new.push(entry),
            None => done.push((entry.clone(), None)),
        }
    }
    // If Redis lost its last writes, it may have admitted more buyers than there are units.
    let left = if activity.closed_at.is_some() { 0 } else { activity.unsold() };
    let (new, beyond_limit) = within_limit(tx, &activity, new).await?;
    if !beyond_limit.is_empty() {
        log::warn("tickets failed because their users have reached the limit", &beyond_limit.len());
        give_back(tx, activity_id, &beyond_limit).await?;
        done.extend(beyond_limit.iter().map(|entry| ((*entry).clone(), None)));
    }
    let (fit, excess) = new.split_at(new.len().min(usize::try_from(left).unwrap_or_default()));
    if !excess.is_empty() {
        log::warn("tickets failed because no unit was left: Redis had lost its last writes", &excess.len());
        let failed: Vec<_> = excess.iter().map(|entry| (entry.ticket.as_str(), entry.user_id, None)).collect();
        ticket::insert(tx, activity_id, &failed).await?;
        done.extend(excess.iter().map(|entry| ((*entry).clone(), None)));
    }
    if !fit.is_empty() {
        let mut products = summary::read(tx, &[activity.product_id], Lock::None).await?;
        let product = products
            .remove(&activity.product_id)
            .ok_or_else(|| Problem::internal().because("the sale's product does not exist"))?;
        let orders: Vec<_> = fit
            .iter()
            .map(|entry| PlacedOrder {
                user_id: entry.user_id,
                order: order(&activity, &product, terms),
                ticket: Some(&entry.ticket),
            })
            .collect();
        ordering::insert(tx, &orders).await?;
        let numbers: Vec<_> = orders.iter().map(|placed| placed.order.order_no.clone()).collect();
        let rows =
            fit.iter().zip(&numbers).map(|(entry, order_no)| (entry.ticket.as_str(), entry.user_id, Some(order_no)));
        ticket::insert(tx, activity_id, &rows.collect::<Vec<_>>()).await?;
        add_booked(tx, &[(activity_id, i64::try_from(fit.len()).unwrap_or(i64::MAX))]).await?;
        done.extend(fit.iter().zip(numbers).map(|(entry, order_no)| ((*entry).clone(), Some(order_no))));
    }
    Ok(done)
}

/// Splits tickets into those that their users may have, and those beyond the limit per user. Redis admits too many if it
/// has lost what a user had bought.
async fn within_limit<'a>(
    tx: &mut Transaction,
    activity: &Activity,
    entries: Vec<&'a Entry>,
) -> Result<(Vec<&'a Entry>, Vec<&'a Entry>)> {
    let users: BTreeSet<_> = entries.iter().map(|entry| entry.user_id).collect();
    let mut counts: BTreeMap<_, _> = ticket::count_active(tx, activity.id, &users).await?.into_iter().collect();
    Ok(entries.into_iter().partition(|entry| {
        let count = counts.entry(entry.user_id).or_default();
        *count = count.saturating_add(1);
        *count <= activity.per_user_limit
    }))
}

/// Records that tickets can't be booked, and has their units put on sale again after the commit.
async fn give_back(tx: &mut Transaction, activity_id: ActivityId, entries: &[&Entry]) -> Result<()> {
    let failed: Vec<_> = entries.iter().map(|entry| (entry.ticket.as_str(), entry.user_id, None)).collect();
    ticket::insert(tx, activity_id, &failed).await?;
    let tickets = Tickets::new(entries.iter().map(|entry| entry.ticket.clone()).collect());
    let task = Task::GiveBack { activity_id, ticket: tickets };
    tx.enqueue(&[Queue::Drain.job(&task, Timestamp::now())?]).await
}

/// The order of one unit.
fn order(activity: &Activity, product: &ProductSummary, terms: &Terms) -> Order {
    let price = activity.price_cents;
    let item = OrderItem {
        product_id: activity.product_id,
        name: product.name.clone(),
        image_url: product.image_url.clone(),
        price_cents: price,
        quantity: 1,
        amount_cents: price,
        discount_cents: Cents(0),
    };
    let quote = Quote {
        discounts: vec![],
        subtotal_cents: price,
        discount_cents: Cents(0),
        total_cents: price,
        currency: terms.currency.clone(),
    };
    Order::pending(quote, vec![item], terms.ttl_seconds)
}

/// Records that a ticket can't be booked, and puts its unit on sale again.
async fn fail(activity_id: ActivityId, entry: &Entry, problem: &Problem) -> Result<()> {
    log::error(&format!("the ticket {} can't be booked", entry.ticket), problem);
    mysql::transaction(async |tx| {
        lock(tx, activity_id).await?;
        match booked_among(tx, &[&entry.ticket]).await?.is_empty() {
            true => give_back(tx, activity_id, &[entry]).await,
            false => Ok(()),
        }
    })
    .await?;
    admission::acknowledge(activity_id, &[(entry.clone(), None)]).await
}
