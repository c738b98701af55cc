//! Wakes when a key expires: ends orders that nobody paid in time, and rings for what became due in other queues.

use kit::{
    Result,
    jobs::{self, Queue},
    mysql,
};
use ordering::{Expiry, expire, facts};

kit::worker!(work);

/// The key may be the heartbeat's, a timer's or anything: whatever it was, what is due is done.
pub async fn work(_: Vec<u8>) -> Result<()> {
    let beaten = jobs::beat().await;
    jobs::work(Queue::Timer, async |job, expiry: Expiry| {
        let lines = mysql::transaction(async |tx| {
            job.finish(tx).await?;
            expire(tx, &expiry.order_no).await
        })
        .await?;
        facts::forget(lines.iter().map(|line| line.product_id)).await;
        Ok(())
    })
    .await?;
    jobs::ring_due(Queue::Timer).await?;
    beaten
}
