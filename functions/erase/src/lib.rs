//! Erases the personal data of users who have deleted their accounts.

use accounts::deletion::{self, EraseUser};
use flash_sale::release_units;
use kit::{
    Code, OrderNo, Result, Timestamp, UserId,
    jobs::{self, Job, Queue},
    log, mysql,
};
use ordering::cart::Cart;

kit::worker!(work);

/// Requests that were running when the account was deleted have ended after this time, in milliseconds.
const SETTLED_MS: i64 = 10_000;
/// How often the orders of a deleted user that are not done are looked at: the longer they take, the less often.
const SHORTEST_PAUSE_MS: i64 = 4000;
const LONGEST_PAUSE_MS: i64 = 300_000;

pub async fn work(_: Vec<u8>) -> Result<()> {
    jobs::work(Queue::Erase, async |job: &Job, task: &EraseUser| {
        let user_id = task.erase_user;
        let Some(deleted_at) = deletion::deleted_at(&mut mysql::connection().await?, user_id).await? else {
            return mysql::transaction(async |tx| job.finish(tx).await).await;
        };
        // What fails here is tried again, and must not hold up the erasure.
        let open = cancel_unpaid_orders(user_id).await.unwrap_or_else(|problem| {
            log::warn("the orders of a deleted user could not be cancelled yet", &problem);
            1
        });
        log::warn_if_failed("the cart of a deleted user could not be deleted yet", Cart::delete(user_id).await);
        personal_data::erase(user_id).await?;
        let age = Timestamp::now().0.saturating_sub(deleted_at.0);
        mysql::transaction(async |tx| {
            job.finish(tx).await?;
            if open == 0 && age > SETTLED_MS {
                return Ok(());
            }
            let pause = (age / 8).clamp(SHORTEST_PAUSE_MS, LONGEST_PAUSE_MS);
            let again = task.job(Timestamp(Timestamp::now().0.saturating_add(pause)))?;
            tx.enqueue(&[again]).await
        })
        .await
    })
    .await
}

/// Returns how many orders are not done.
async fn cancel_unpaid_orders(user_id: UserId) -> Result<usize> {
    let (unpaid, others) = ordering::open_orders(&mut mysql::connection().await?, user_id).await?;
    for order_no in &unpaid {
        cancel(user_id, order_no).await?;
    }
    Ok(others)
}

async fn cancel(user_id: UserId, order_no: &OrderNo) -> Result<()> {
    let cancelled =
        mysql::transaction(async |tx| ordering::cancel(tx, user_id, order_no, None, release_units).await).await;
    match cancelled {
        // It was paid or has expired in the meantime.
        Err(problem) if problem.code == Code::OrderState => Ok(()),
        result => result,
    }
}
