//! The worker for flash sales: books tickets as orders, opens and closes sales, returns units to them.

use std::time::{Duration, Instant};

use flash_sale::{
    Task, active_tickets, admission,
    booking::{self, Terms},
};
use kit::{
    ActivityId, Problem, Result, Timestamp,
    jobs::{self, Job, Queue},
    log, mysql, random,
};

kit::worker!(work);

/// After this time the worker wakes itself again and returns.
const TIME_BOX: Duration = Duration::from_secs(1);
/// How often the worker looks at an open sale even if no message wakes it, in milliseconds.
const WATCH_MS: i64 = 5000;

pub async fn work(_: Vec<u8>) -> Result<()> {
    let terms = Terms::configured().await?;
    let consumer = random::token::<8>()?;
    let started = Instant::now();
    let open = flash_sale::open_ids(&mut mysql::connection().await?).await?;
    for activity_id in open {
        match drain(activity_id, &consumer, &terms, started).await {
            Ok(true) => jobs::wake_queue(Queue::Drain).await?,
            Ok(false) => {}
            // The next watch job tries again; other sales must not wait for this one.
            Err(problem) => log::error(&format!("the tickets of sale {activity_id} could not be booked"), &problem),
        }
    }
    jobs::work(Queue::Drain, async |job, task| do_task(job, task, &consumer, &terms).await).await
}

/// Books waiting tickets for about a second; returns whether there are more. A sale that Redis has lost is rebuilt.
async fn drain(activity_id: ActivityId, consumer: &str, terms: &Terms, started: Instant) -> Result<bool> {
    admission::clear_wake(activity_id).await?;
    if !admission::is_open(activity_id).await? {
        write_to_redis(activity_id, false).await?;
    }
    loop {
        let count = booking::book_batch(activity_id, consumer, terms).await?;
        if count == 0 {
            return Ok(false);
        }
        if started.elapsed() >= TIME_BOX {
            return Ok(true);
        }
    }
}

/// Writes the sale from MySQL to Redis. Its lock prevents bookings and cancellations in the meantime.
async fn write_to_redis(activity_id: ActivityId, replace: bool) -> Result<()> {
    mysql::transaction(async |tx| {
        let activity = flash_sale::lock(tx, activity_id).await?;
        let active = active_tickets(tx, activity_id).await?;
        if admission::open(&activity, &active, replace).await? && (replace || Timestamp::now() > activity.starts_at) {
            log::warn(
                "a sale was rebuilt in Redis; tickets that were not booked are lost",
                &format!("sale {activity_id}, {} units left", activity.unsold()),
            );
        }
        Ok(())
    })
    .await
}

async fn do_task(job: &Job, task: &Task, consumer: &str, terms: &Terms) -> Result<()> {
    match task {
        Task::Watch { activity_id } => watch(job, *activity_id).await,
        Task::Close { activity_id } => close(job, *activity_id, consumer, terms).await,
        Task::GiveBack { activity_id, ticket } => {
            admission::return_units(*activity_id, ticket.as_slice()).await?;
            mysql::transaction(async |tx| job.finish(tx).await).await
        }
        Task::Rebuild { activity_id } => {
            drain(*activity_id, consumer, terms, Instant::now()).await?;
            write_to_redis(*activity_id, true).await?;
            mysql::transaction(async |tx| job.finish(tx).await).await
        }
    }
}

/// The job's purpose is to wake the worker, which has already booked the tickets. It is enqueued again until the sale
/// is closed.
async fn watch(job: &Job, activity_id: ActivityId) -> Result<()> {
    mysql::transaction(async |tx| {
        job.finish(tx).await?;
        let activity = flash_sale::find(tx, activity_id).await?;
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

/// Ends admission, books the waiting tickets, and returns the remaining units to the product.
async fn close(job: &Job, activity_id: ActivityId, consumer: &str, terms: &Terms) -> Result<()> {
    admission::close(activity_id).await?;
    while booking::book_batch(activity_id, consumer, terms).await? > 0 {}
    if admission::backlog(activity_id).await? > 0 {
        // Another worker is booking them, or died while doing so.
        return Err(Problem::unavailable().because("tickets are still being booked"));
    }
    mysql::transaction(async |tx| {
        job.finish(tx).await?;
        flash_sale::close(tx, activity_id).await
    })
    .await
}
