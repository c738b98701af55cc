//! Woken when a key expires: cancels orders that were not paid in time, and wakes the workers of other queues that have
//! jobs due.

use flash_sale::release_unit;
use kit::{
    Result,
    jobs::{self, Queue},
    mysql,
};
use ordering::{Expiry, expire};

kit::worker!(work);

/// The message names the key that expired. Whichever it was, everything that is due is done.
pub async fn work(_: Vec<u8>) -> Result<()> {
    let heartbeat = jobs::heartbeat().await;
    jobs::work(Queue::Timer, async |job, expiry: Expiry| {
        mysql::transaction(async |tx| {
            job.finish(tx).await?;
            expire(tx, &expiry.order_no, release_unit).await
        })
        .await
    })
    .await?;
    jobs::wake_due(Queue::Timer).await?;
    heartbeat
}
