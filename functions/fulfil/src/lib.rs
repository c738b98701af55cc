//! Ships paid orders, completes shipped ones, refunds, and counts what is bought together.

use std::{collections::BTreeSet, mem};

use flash_sale::release_units;
use kit::{
    Problem, Result, config,
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
    jobs::work_batched(Queue::Fulfil, kind, async |tasks: &[(Job, Task)]| {
        let (jobs, order_nos): (Vec<_>, BTreeSet<_>) = tasks.iter().map(|(job, task)| (*job, task.order_no())).unzip();
        mysql::transaction(async |tx| {
            Job::finish_all(&jobs, tx).await?;
            match tasks {
                [(_, Task::Refund { order_no })] => refund::settle(tx, order_no, release_units).await,
                [(_, Task::Ship { .. }), ..] if ships => auto_ship(tx, &order_nos, auto_confirm_seconds).await,
                // Staff ship by hand.
                [(_, Task::Ship { .. }), ..] => Ok(()),
                [(_, Task::Complete { .. }), ..] => auto_complete(tx, &order_nos).await,
                [(_, Task::Relate { .. }), ..] => count_bought_together(tx, &order_nos).await,
                _ => Err(Problem::internal().because("a refund is not done in a batch")),
            }
        })
        .await
    })
    .await
}

/// What is done together: tasks of the same kind, except refunds.
fn kind(task: &Task) -> Option<mem::Discriminant<Task>> {
    (!matches!(task, Task::Refund { .. })).then(|| mem::discriminant(task))
}
