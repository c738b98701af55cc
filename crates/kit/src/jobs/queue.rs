//! Queues.

use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::{Result, Timestamp, mysql::connection, params, text_column};

/// A queue. Its worker is the function of the same name, which subscribes to the channel `mall:<name>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Queue {
    Drain,
    Erase,
    Fulfil,
    Notify,
    Retention,
    Timer,
}

text_column!(Queue);

impl Queue {
    pub fn name(self) -> &'static str {
        self.into()
    }

    pub(super) fn all() -> impl Iterator<Item = Self> {
        Self::VARIANTS.iter().copied()
    }
}

/// The queues with jobs that have been due for at least `for_ms` milliseconds.
pub(super) async fn due(for_ms: i64) -> Result<Vec<Queue>> {
    const DUE: &str = "SELECT EXISTS (SELECT 1 FROM jobs WHERE queue = ? AND due_at <= ?) AS due";
    let before = Timestamp(Timestamp::now().0.saturating_sub(for_ms));
    let sql = vec![DUE; Queue::VARIANTS.len()].join(" UNION ALL ");
    let values = Queue::VARIANTS.iter().flat_map(|queue| params![*queue, before]).collect();
    let found = connection().await?.query::<(bool,)>(&sql, values).await?;
    Ok(Queue::VARIANTS.iter().copied().zip(found).filter(|(_, (due,))| *due).map(|(queue, _)| queue).collect())
}
