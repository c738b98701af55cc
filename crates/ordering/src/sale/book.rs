//! From tickets to orders, many at a time. A ticket is booked once, whatever happens between the commit and the
//! acknowledgement.

use std::collections::BTreeSet;

use kit::{
    Code, Problem, Result, Timestamp, config, log,
    mysql::{self, Transaction, marks, param},
    params, row,
};

use super::{Activity, gate, gate::Entry, lock};
use crate::{Expiry, OrderState, history};

/// How the orders of a sale are made.
#[derive(Debug, Clone)]
pub struct Terms {
    pub currency: String,
    /// Unpaid after so many seconds, an order is cancelled.
    pub ttl_seconds: i64,
}

impl Terms {
    pub async fn configured() -> Result<Self> {
        let ttl_seconds = config::number("order_ttl_seconds", 1, 31_536_000).await?;
        Ok(Terms { currency: config::currency().await?, ttl_seconds })
    }
}

/// Books a batch of the tickets that wait; how many there were.
pub async fn batch(activity_id: i64, consumer: &str, terms: &Terms) -> Result<usize> {
    let entries = gate::waiting(activity_id, consumer).await?;
    if entries.is_empty() {
        return Ok(0);
    }
    let count = entries.len();
    // What failed as a whole is tried in halves, so that one bad ticket holds up nobody.
    let mut parts = vec![entries];
    while let Some(part) = parts.pop() {
        let result = mysql::transaction(async |tx| book(tx, activity_id, &part, terms).await).await;
        match result {
            Ok(done) => gate::booked(activity_id, &done).await?,
            // The database's trouble, not the tickets': they are taken up again.
            Err(problem) if problem.code == Code::Unavailable => return Err(problem),
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

row! {
    struct ProductRow { name: String, image_url: Option<String> }
}

/// Makes orders of tickets; each with its order, if it has one now or had before.
async fn book(
    tx: &mut Transaction,
    activity_id: i64,
    entries: &[Entry],
    terms: &Terms,
) -> Result<Vec<(Entry, Option<String>)>> {
    const PRODUCT: &str = "SELECT name, image_url FROM products WHERE id = ?";
    const BOOKED: &str = "UPDATE seckill_activities SET booked = booked + ? WHERE id = ?";
    let activity = lock(tx, activity_id).await?;
    let known = known(tx, entries).await?;
    let mut done = Vec::new();
    let mut seen = BTreeSet::new();
    let mut new = Vec::new();
    for entry in entries {
        match known.iter().find(|row| row.ticket == entry.ticket) {
            Some(row) => done.push((entry.clone(), row.order_no.clone())),
            None if seen.insert(&entry.ticket) => new.push(entry),
            None => done.push((entry.clone(), None)),
        }
    }
    // A Redis that lost its last writes may have let in more than there are.
    let room = if activity.closed_at.is_some() { 0 } else { activity.stock.saturating_sub(activity.booked) };
    let (fit, excess) = new.split_at(new.len().min(usize::try_from(room).unwrap_or_default()));
    if !excess.is_empty() {
        log::warn("tickets without a unit fail: Redis had lost what it had sold", &excess.len());
        insert_tickets(tx, &activity, &excess.iter().map(|entry| (*entry, None)).collect::<Vec<_>>()).await?;
        done.extend(excess.iter().map(|entry| ((*entry).clone(), None)));
    }
    if !fit.is_empty() {
        let product: ProductRow =
            tx.query_one(PRODUCT, params![activity.product_id]).await?.ok_or_else(Problem::internal)?;
        let orders: Vec<_> = fit.iter().map(|entry| (*entry, Some(ulid::Ulid::generate().to_string()))).collect();
        insert_orders(tx, &activity, &product, &orders, terms).await?;
        insert_tickets(tx, &activity, &orders).await?;
        let count = i64::try_from(orders.len()).unwrap_or(i64::MAX);
        tx.execute(BOOKED, params![count, activity_id]).await?;
        done.extend(orders.into_iter().map(|(entry, order_no)| (entry.clone(), order_no)));
    }
    Ok(done)
}

row! {
    struct KnownRow { ticket: String, order_no: Option<String> }
}

async fn known(tx: &mut Transaction, entries: &[Entry]) -> Result<Vec<KnownRow>> {
    let sql = format!("SELECT ticket, order_no FROM seckill_tickets WHERE ticket IN ({})", marks(entries.len()));
    Ok(tx.query(&sql, entries.iter().map(|entry| param(&entry.ticket)).collect()).await?)
}

/// A ticket with its order's number; without one, it has failed.
type Numbered<'a> = (&'a Entry, Option<String>);

fn rows(row: &str, count: usize) -> String {
    vec![row; count].join(", ")
}

async fn insert_orders(
    tx: &mut Transaction,
    activity: &Activity,
    product: &ProductRow,
    orders: &[Numbered<'_>],
    terms: &Terms,
) -> Result<()> {
    let now = Timestamp::now();
    let expires_at = now.plus_seconds(terms.ttl_seconds);
    let (price, currency, pending) = (activity.price_cents, terms.currency.as_str(), OrderState::Pending.name());
    let numbered = || orders.iter().filter_map(|(entry, order_no)| Some((*entry, order_no.as_deref()?)));

    let sql = format!(
        "INSERT INTO orders (order_no, user_id, status, subtotal_cents, discount_cents, total_cents, currency,
                             discounts, created_at, expires_at, ticket)
         VALUES {}",
        rows("(?, ?, ?, ?, 0, ?, ?, '[]', ?, ?, ?)", orders.len())
    );
    let values = numbered().flat_map(|(entry, order_no)| {
        params![order_no, entry.user_id, pending, price, price, currency, now, expires_at, &entry.ticket]
    });
    tx.execute(&sql, values.collect()).await?;

    let sql = format!(
        "INSERT INTO order_items (order_no, line, product_id, name, image_url, price_cents, quantity, amount_cents)
         VALUES {}",
        rows("(?, 1, ?, ?, ?, ?, 1, ?)", orders.len())
    );
    let values = numbered().flat_map(|(_, order_no)| {
        params![order_no, activity.product_id, &product.name, product.image_url.as_deref(), price, price]
    });
    tx.execute(&sql, values.collect()).await?;

    history::begun(tx, &numbered().map(|(entry, order_no)| (order_no, entry.user_id)).collect::<Vec<_>>()).await?;
    let expiries = numbered().map(|(_, order_no)| Expiry { order_no: order_no.to_owned() }.job(expires_at));
    tx.enqueue(&expiries.collect::<Result<Vec<_>>>()?).await
}

async fn insert_tickets(tx: &mut Transaction, activity: &Activity, tickets: &[Numbered<'_>]) -> Result<()> {
    let sql = format!(
        "INSERT INTO seckill_tickets (ticket, activity_id, user_id, status, order_no, live, created_at) VALUES {}",
        rows("(?, ?, ?, ?, ?, ?, ?)", tickets.len())
    );
    let now = Timestamp::now();
    let values = tickets.iter().flat_map(|(entry, order_no)| {
        let (status, live) = if order_no.is_some() { ("ordered", true) } else { ("failed", false) };
        params![&entry.ticket, activity.id, entry.user_id, status, order_no.as_deref(), live, now]
    });
    Ok(tx.execute(&sql, values.collect()).await?)
}

/// A ticket that can't be booked has failed; its unit is on sale again.
async fn fail(activity_id: i64, entry: &Entry, problem: &Problem) -> Result<()> {
    log::error(None, &format!("the ticket {} can't be booked", entry.ticket), &problem.detail);
    mysql::transaction(async |tx| {
        let activity = lock(tx, activity_id).await?;
        match known(tx, std::slice::from_ref(entry)).await?.is_empty() {
            true => insert_tickets(tx, &activity, &[(entry, None)]).await,
            false => Ok(()),
        }
    })
    .await?;
    gate::give_back(activity_id, &entry.ticket).await?;
    gate::booked(activity_id, &[(entry.clone(), None)]).await
}
