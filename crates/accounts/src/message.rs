//! Messages to users, which are shown in their accounts and also sent by e-mail if there is an address.

use kit::{
    OrderNo, Result, Timestamp, UserId,
    jobs::Job,
    mysql::{Connection, ParameterValue, Transaction},
    pagination::{Page, PageQuery},
    params, row, text_column,
};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr, VariantArray};
use utoipa::ToSchema;

/// What a message is about. The aliases are those of jobs that an earlier version has enqueued.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, EnumString, IntoStaticStr, VariantArray, ToSchema,
)]
#[schema(description = "What a message is about.")]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    #[serde(alias = "paid")]
    OrderPaid,
    #[serde(alias = "shipped")]
    OrderShipped,
    #[serde(alias = "cancelled")]
    OrderCancelled,
    /// Not paid in time, and therefore cancelled.
    #[serde(alias = "expired")]
    OrderExpired,
    #[serde(alias = "refunded")]
    OrderRefunded,
    RefundRejected,
    PasswordChanged,
    PasswordReset,
    EmailChanged,
    IdentityLinked,
    IdentityUnlinked,
}

text_column!(Kind);

row! {
    #[derive(Debug, Serialize, ToSchema)]
    pub struct Message {
        #[schema(minimum = 1)]
        message_id: i64 as "id",
        // A string, so that this version can list the kinds of a later one.
        #[schema(value_type = Kind)]
        kind: String,
        #[schema(required)]
        order_no: Option<OrderNo>,
        #[schema(example = "Payment received for order 01KAVT2Q8ZJ6Y4T9V3N5R7W1XC")]
        subject: String,
        #[schema(example = "We have received your payment and are preparing your order.")]
        body: String,
        created_at: Timestamp,
    }
}

/// A user's messages, newest first.
pub async fn list(db: &mut Connection, user_id: UserId, page: &PageQuery) -> Result<Page<Message>> {
    let sql =
        format!("SELECT {} FROM messages WHERE user_id = ? AND id < ? ORDER BY id DESC LIMIT ?", Message::COLUMNS);
    let (limit, before) = (page.limit()?, page.cursor::<i64>()?.unwrap_or(i64::MAX));
    let rows = db.query(&sql, params![user_id, before, i64::from(limit).saturating_add(1)]).await?;
    Ok(Page::new(rows, limit, |message: &Message| message.message_id))
}

/// A message to be inserted. A job inserts one at most.
pub struct NewMessage<'a> {
    pub user_id: UserId,
    pub job: &'a Job,
    pub kind: Kind,
    pub order_no: Option<&'a OrderNo>,
    pub subject: String,
    pub body: String,
}

impl NewMessage<'_> {
    fn values(self) -> Vec<ParameterValue> {
        let NewMessage { user_id, job, kind, order_no, subject, body } = self;
        params![user_id, job.id, kind, order_no, subject, body, Timestamp::now()]
    }
}

/// Inserts messages in one statement, except those that an earlier attempt of their jobs has inserted.
pub async fn insert_all(tx: &mut Transaction, messages: Vec<NewMessage<'_>>) -> Result<()> {
    if messages.is_empty() {
        return Ok(());
    }
    let sql = format!(
        "INSERT INTO messages (user_id, job_id, kind, order_no, subject, body, created_at) VALUES {}
         ON DUPLICATE KEY UPDATE id = id",
        vec!["(?, ?, ?, ?, ?, ?, ?)"; messages.len()].join(", ")
    );
    Ok(tx.execute(&sql, messages.into_iter().flat_map(NewMessage::values).collect()).await?)
}

/// Records that the job's message was sent by e-mail, too.
pub async fn mark_sent(tx: &mut Transaction, job: &Job) -> Result<()> {
    const SENT: &str = "UPDATE messages SET sent_at = ? WHERE job_id = ?";
    Ok(tx.execute(SENT, params![Timestamp::now(), job.id]).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_has_one_name_which_fits_its_column() {
        for &kind in Kind::VARIANTS {
            let name: &str = kind.into();
            assert_eq!(serde_json::to_value(kind).unwrap(), name);
            assert!(name.len() <= 32, "{name}");
        }
    }
}
