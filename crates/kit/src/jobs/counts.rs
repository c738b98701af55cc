//! How many jobs there are, for those who operate the shop.

use super::job::NEVER;
use crate::{
    Result, Timestamp,
    mysql::{self, Connection},
    params, row,
};

row! {
    /// A queue's jobs, each number at most [`mysql::MAX_COUNT`].
    pub struct Counts {
        pub queue: String,
        /// Due, or leased by a worker that died.
        pub due: i64,
        /// Due later, or leased.
        pub later: i64,
        pub dead: i64,
        /// When the job that is due first is or was due.
        pub next_due_at: Timestamp,
    }
}

row! {
    struct FirstRow { queue: String, due_at: Timestamp }
}

/// The number of jobs of each queue that has some, whatever its name. It reads little of the table: the first index entry
/// of each queue, and as many as are counted. (GROUP BY would do the same, but only while the server's statistics are up
/// to date.)
pub async fn counts(db: &mut Connection) -> Result<Vec<Counts>> {
    const NEXT: &str = "SELECT queue, due_at FROM jobs WHERE queue > ? ORDER BY queue, due_at LIMIT 1";
    let count = |condition| mysql::bounded_count(&format!("jobs WHERE queue = ? AND {condition}"));
    let select = format!(
        "SELECT ? AS queue, {} AS due, {} AS later, {} AS dead, CAST(? AS SIGNED) AS next_due_at",
        count("due_at <= ?"),
        count("due_at > ? AND due_at < ?"),
        count("due_at = ?"),
    );
    let (mut counts, mut last, now) = (Vec::new(), String::new(), Timestamp::now());
    while let Some(FirstRow { queue, due_at }) = db.query_one(NEXT, params![&last]).await? {
        let values = params![&queue, &queue, now, &queue, now, NEVER, &queue, NEVER, due_at];
        counts.extend(db.query_one::<Counts>(&select, values).await?);
        last = queue;
    }
    Ok(counts)
}
