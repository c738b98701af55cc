//! Woken when a key expires: cancels orders that were not paid in time, and wakes the workers of other queues that have
//! jobs due.

use flash_sale::release_units;
use kit::{
    Result,
    jobs::{self, Job, Queue},
    mysql,
};
use ordering::{Expiry, expire};

kit::worker!(work);

/// The message names the key that expired. Whichever it was, everything that is due is done.
pub async fn work(_: Vec<u8>) -> Result<()> {
    let heartbeat = jobs::heartbeat().await;
    jobs::work_batched(Queue::Timer, |_: &Expiry| Some(()), expire_orders).await?;
    jobs::wake_due(Queue::Timer).await?;
    heartbeat
}

async fn expire_orders(expiries: &[(Job, Expiry)]) -> Result<()> {
    let (jobs, order_nos): (Vec<_>, _) = expiries.iter().map(|(job, expiry)| (*job, &expiry.order_no)).unzip();
    mysql::transaction(async |tx| {
        Job::finish_all(&jobs, tx).await?;
        expire(tx, &order_nos, release_units).await
    })
    .await
}
