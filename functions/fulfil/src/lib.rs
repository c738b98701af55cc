//! Ships what was paid, completes what was shipped, gives money back, counts what is bought together.

use kit::{
    Problem, Result, config,
    jobs::{self, Job, Queue},
    mysql,
};
use ordering::{
    facts,
    fulfil::{Task, complete_by_itself, ship_by_themselves},
    refund, related,
};

kit::worker!(work);

pub async fn work(_: Vec<u8>) -> Result<()> {
    let auto_ship = config::flag("auto_ship").await?;
    let auto_confirm_seconds = config::auto_confirm_seconds().await?;
    let ship = async |tasks: &[(Job, Task)]| {
        let (jobs, order_nos): (Vec<_>, _) = tasks.iter().map(|(job, task)| (*job, task.order_no())).unzip();
        mysql::transaction(async |tx| {
            Job::finish_all(&jobs, tx).await?;
            match auto_ship {
                true => ship_by_themselves(tx, &order_nos, auto_confirm_seconds).await,
                // An admin ships.
                false => Ok(()),
            }
        })
        .await
    };
    let to_ship = |task: &Task| matches!(task, Task::Ship { .. });
    jobs::work_together(Queue::Fulfil, to_ship, ship, async |job, task| match task {
        Task::Ship { .. } => ship(&[(*job, task)]).await,
        Task::Complete { order_no } => {
            let work = async |tx: &mut mysql::Transaction| {
                job.finish(tx).await?;
                complete_by_itself(tx, &order_no).await
            };
            mysql::transaction(work).await
        }
        Task::Refund { order_no } => give_back(job, &order_no).await,
        Task::Relate { order_no } => {
            let work = async |tx: &mut mysql::Transaction| {
                job.finish(tx).await?;
                related::count(tx, &order_no).await
            };
            mysql::transaction(work).await
        }
    })
    .await
}

async fn give_back(job: &Job, order_no: &str) -> Result<(), Problem> {
    let lines = mysql::transaction(async |tx| {
        job.finish(tx).await?;
        refund::settle(tx, order_no).await
    })
    .await?;
    facts::forget(lines.iter().map(|line| line.product_id)).await;
    Ok(())
}
