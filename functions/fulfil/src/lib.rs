//! Ships paid orders, completes shipped ones, refunds, and counts what is bought together.

use flash_sale::release_unit;
use kit::{
    Result, config,
    jobs::{self, Job, Queue},
    mysql,
};
use ordering::{
    fulfilment::{Task, auto_complete, auto_ship, count_bought_together},
    refund,
};

kit::worker!(work);

pub async fn work(_: Vec<u8>) -> Result<()> {
    let ships = config::flag("auto_ship").await?;
    let auto_confirm_seconds = config::auto_confirm_seconds().await?;
    let ship = async |tasks: &[(Job, Task)]| {
        let (jobs, order_nos): (Vec<_>, _) = tasks.iter().map(|(job, task)| (*job, task.order_no())).unzip();
        mysql::transaction(async |tx| {
            Job::finish_all(&jobs, tx).await?;
            match ships {
                true => auto_ship(tx, &order_nos, auto_confirm_seconds).await,
                // Staff ship by hand.
                false => Ok(()),
            }
        })
        .await
    };
    let can_batch = |task: &Task| matches!(task, Task::Ship { .. });
    jobs::work_batched(Queue::Fulfil, can_batch, ship, async |job, task| match task {
        Task::Ship { .. } => ship(&[(*job, task)]).await,
        other => mysql::transaction(async |tx| do_task(job, &other, tx).await).await,
    })
    .await
}

async fn do_task(job: &Job, task: &Task, tx: &mut mysql::Transaction) -> Result<()> {
    job.finish(tx).await?;
    match task {
        // Done in batches.
        Task::Ship { .. } => Ok(()),
        Task::Complete { order_no } => auto_complete(tx, order_no).await,
        Task::Refund { order_no } => refund::settle(tx, order_no, release_unit).await,
        Task::Relate { order_no } => count_bought_together(tx, order_no).await,
    }
}
