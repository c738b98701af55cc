//! Makes orders of the tickets that flash sales have given out, opens and closes sales, puts units on sale again.

use std::time::{Duration, Instant};

use kit::{
    Problem, Result, Timestamp,
    jobs::{self, Job, Queue},
    log, mysql, opaque,
};
use ordering::{
    facts,
    sale::{
        self, Task,
        book::{self, Terms},
        gate,
    },
};

kit::worker!(work);

/// After that long it rings for itself instead of going on.
const TIME_BOX: Duration = Duration::from_secs(1);
/// Between two looks at a sale for which nobody rang.
const WATCH_MS: i64 = 5000;

pub async fn work(_: Vec<u8>) -> Result<()> {
    let terms = Terms::configured().await?;
    let consumer = opaque::to_base64(&opaque::random::<8>()?);
    let begun = Instant::now();
    let open = sale::open_ids(&mut mysql::connection().await?).await?;
    for activity_id in open {
        match drain(activity_id, &consumer, &terms, begun).await {
            Ok(true) => jobs::ring_now(Queue::Drain).await?,
            Ok(false) => {}
            // Its watch comes again. Others are not to wait for it.
            Err(problem) => log::error(None, &format!("the tickets of sale {activity_id} wait"), &problem.detail),
        }
    }
    jobs::work(Queue::Drain, async |job, task| attend(job, task, &consumer, &terms).await).await
}

/// Books what waits, for a while; whether there is more, for which to ring. A sale that Redis has lost is written anew.
async fn drain(activity_id: i64, consumer: &str, terms: &Terms, begun: Instant) -> Result<bool> {
    gate::hush(activity_id).await?;
    if !gate::is_open(activity_id).await? {
        write(activity_id, false).await?;
    }
    loop {
        let count = book::batch(activity_id, consumer, terms).await?;
        if count == 0 {
            return Ok(false);
        }
        if begun.elapsed() >= TIME_BOX {
            return Ok(true);
        }
    }
}

/// Writes the sale in Redis as MySQL has it. Its lock keeps orders from coming and going meanwhile.
async fn write(activity_id: i64, replace: bool) -> Result<()> {
    mysql::transaction(async |tx| {
        let activity = sale::lock(tx, activity_id).await?;
        let standing = sale::standing(tx, activity_id).await?;
        if gate::open(&activity, &standing, replace).await? && (replace || Timestamp::now() > activity.starts_at) {
            let left = activity.stock.saturating_sub(activity.booked);
            log::warn(
                "a sale was written anew in Redis; tickets that were not booked are lost",
                &format!("{activity_id}, {left} left"),
            );
        }
        Ok(())
    })
    .await
}

async fn attend(job: &Job, task: Task, consumer: &str, terms: &Terms) -> Result<()> {
    match task {
        Task::Watch { activity_id } => watch(job, activity_id).await,
        Task::Close { activity_id } => close(job, activity_id, consumer, terms).await,
        Task::GiveBack { activity_id, ticket } => {
            gate::give_back(activity_id, &ticket).await?;
            mysql::transaction(async |tx| job.finish(tx).await).await
        }
        Task::Rebuild { activity_id } => {
            drain(activity_id, consumer, terms, Instant::now()).await?;
            write(activity_id, true).await?;
            mysql::transaction(async |tx| job.finish(tx).await).await
        }
    }
}

/// That this runs is enough: whatever waits has been booked before. It comes again until the sale has closed.
async fn watch(job: &Job, activity_id: i64) -> Result<()> {
    mysql::transaction(async |tx| {
        job.finish(tx).await?;
        let activity = sale::find(tx, activity_id).await?;
        match activity.closed_at {
            Some(_) => Ok(()),
            None => {
                let next = Timestamp(Timestamp::now().0.saturating_add(WATCH_MS));
                tx.enqueue(&[Queue::Drain.job(&Task::Watch { activity_id }, next)?]).await
            }
        }
    })
    .await
}

/// Nobody gets in any more, who is in gets an order, and what is left goes back to the product.
async fn close(job: &Job, activity_id: i64, consumer: &str, terms: &Terms) -> Result<()> {
    gate::close(activity_id).await?;
    while book::batch(activity_id, consumer, terms).await? > 0 {}
    if gate::backlog(activity_id).await? > 0 {
        // Another worker has them, or had.
        return Err(Problem::unavailable());
    }
    let product_id = mysql::transaction(async |tx| {
        job.finish(tx).await?;
        sale::close(tx, activity_id).await
    })
    .await?;
    facts::forget([product_id]).await;
    Ok(())
}
