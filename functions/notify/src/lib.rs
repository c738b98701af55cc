//! Tells users what became of their orders: a message for each change, sent by e-mail too where the shop has a service
//! for it and the user an address. And mails those who forgot their password a token.

mod mail;

use std::collections::BTreeSet;

use accounts::{RESET_SECONDS, Reset};
use kit::{
    Result, Timestamp, config,
    jobs::{self, Job, Queue},
    log,
    mysql::{self, Error, ParameterValue, Transaction, marks, param},
    params, row,
};
use ordering::notice::{Kind, Notice};
use serde::Deserialize;

kit::worker!(work);

pub async fn work(_: Vec<u8>) -> Result<()> {
    let mails = mail::Service::configured().await?.is_some();
    // Where nothing is to be mailed: a handful of statements for all messages, and not for each.
    let to_write = |letter: &Letter| !mails && matches!(letter, Letter::Notice(_));
    jobs::work_together(Queue::Notify, to_write, tell_all, async |job, letter| match letter {
        Letter::Notice(notice) => tell(job, notice).await,
        Letter::Reset(reset) => mail_token(job, reset).await,
    })
    .await
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Letter {
    Notice(Notice),
    Reset(Reset),
}

const RECIPIENT: &str = "SELECT email FROM users WHERE id = ?";

row! {
    struct Recipient { email: Option<String> }
}

/// The token goes out by mail alone: no message that a stolen session could read, no job that a backup would keep.
async fn mail_token(job: &Job, reset: Reset) -> Result<()> {
    let user_id = reset.reset_password_of;
    let Some(service) = mail::Service::configured().await? else {
        log::warn("somebody has forgotten their password, and the shop has no e-mail service", &user_id);
        return mysql::transaction(async |tx| job.finish(tx).await).await;
    };
    let letter = mysql::transaction(async |tx| {
        let recipient: Option<Recipient> = tx.query_one(RECIPIENT, params![user_id]).await?;
        match recipient.and_then(|recipient| recipient.email) {
            Some(email) => Ok(Some((email, Reset::token(tx, user_id).await?))),
            None => Ok(None),
        }
    })
    .await?;
    if let Some((email, token)) = letter {
        let url = config::text("reset_url").await?;
        let body = format!(
            "Somebody, hopefully you, wants to set your password anew. For {} minutes, once, this does it:\n\n{url}{token}\n\n\
             If it was not you, do nothing.",
            RESET_SECONDS / 60
        );
        // Each attempt has a token of its own: those before it are dead.
        let key = format!("reset-{}-{}", job.id, Timestamp::now().0);
        service.send(&key, &email, "Set your password anew", &body).await?;
    }
    mysql::transaction(async |tx| job.finish(tx).await).await
}

/// Writes messages.
async fn tell_all(letters: &[(Job, Letter)]) -> Result<()> {
    mysql::transaction(async |tx| {
        Job::finish_all(&letters.iter().map(|(job, _)| *job).collect::<Vec<_>>(), tx).await?;
        let notices = || {
            letters.iter().filter_map(|(job, letter)| match letter {
                Letter::Notice(notice) => Some((job, notice)),
                Letter::Reset(_) => None,
            })
        };
        let users: BTreeSet<_> = notices().map(|(_, notice)| notice.user_id).collect();
        let sql = format!("SELECT id FROM users WHERE id IN ({})", marks(users.len()));
        let users = tx.query::<(i64,)>(&sql, users.into_iter().map(param).collect()).await?;
        let to_somebody = notices().filter(|(_, notice)| users.contains(&(notice.user_id,)));
        let messages: Vec<_> = to_somebody.map(|(job, notice)| message(job, notice)).collect();
        if messages.is_empty() {
            return Ok(());
        }
        let sql = format!("{KEEP}{}", vec![", (?, ?, ?, ?, ?, ?, ?)"; messages.len().saturating_sub(1)].concat());
        Ok(tx.execute(&sql, messages.concat()).await?)
    })
    .await
}

async fn tell(job: &Job, notice: Notice) -> Result<()> {
    const SENT: &str = "UPDATE messages SET sent_at = ? WHERE job_id = ?";
    let service = mail::Service::configured().await?;
    let email = mysql::transaction(async |tx| {
        let recipient: Option<Recipient> = tx.query_one(RECIPIENT, params![notice.user_id]).await?;
        // Nobody to tell.
        let Some(recipient) = recipient else {
            job.finish(tx).await?;
            return Ok(None);
        };
        keep(tx, job, &notice).await?;
        match (&service, recipient.email) {
            (Some(_), Some(email)) => Ok(Some(email)),
            _ => {
                job.finish(tx).await?;
                Ok(None)
            }
        }
    })
    .await?;
    let (Some(service), Some(email)) = (service, email) else { return Ok(()) };
    let text = text(&notice);
    // Should this worker end right after, the service knows the same e-mail by its key.
    service.send(&format!("message-{}", job.id), &email, &text.subject, &text.body).await?;
    mysql::transaction(async |tx| {
        job.finish(tx).await?;
        Ok(tx.execute(SENT, params![Timestamp::now(), job.id]).await?)
    })
    .await
}

const KEEP: &str = "
    INSERT INTO messages (user_id, job_id, kind, order_no, subject, body, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)";

fn message(job: &Job, notice: &Notice) -> Vec<ParameterValue> {
    let (kind, text) = (kind_name(notice.kind), text(notice));
    params![notice.user_id, job.id, kind, &notice.order_no, text.subject, text.body, Timestamp::now()]
}

/// Writes the message, unless an attempt before this one has.
async fn keep(tx: &mut Transaction, job: &Job, notice: &Notice) -> Result<()> {
    match tx.execute(KEEP, message(job, notice)).await {
        Ok(()) | Err(Error::Duplicate { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Paid => "order_paid",
        Kind::Shipped => "order_shipped",
        Kind::Cancelled => "order_cancelled",
        Kind::Expired => "order_expired",
        Kind::Refunded => "order_refunded",
        Kind::RefundRejected => "refund_rejected",
    }
}

struct Text {
    subject: String,
    body: String,
}

fn text(notice: &Notice) -> Text {
    let order_no = &notice.order_no;
    let (subject, body) = match notice.kind {
        Kind::Paid => ("is paid", "We have received your payment and are getting your order ready."),
        Kind::Shipped => ("is on its way", "Your order has been shipped; its tracking number stands in the order."),
        Kind::Cancelled => ("is cancelled", "Your order has been cancelled, as you asked."),
        Kind::Expired => ("is cancelled", "Your order was not paid in time and has been cancelled."),
        Kind::Refunded => ("is refunded", "Your money is on its way back to you."),
        Kind::RefundRejected => ("is not refunded", "Your refund was not granted; the reason stands in the order."),
    };
    Text { subject: format!("Order {order_no} {subject}"), body: body.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_order_and_fits_its_column() {
        for kind in [Kind::Paid, Kind::Shipped, Kind::Cancelled, Kind::Expired, Kind::Refunded, Kind::RefundRejected] {
            let text = text(&Notice { user_id: 1, order_no: "0".repeat(26), kind });
            assert!(text.subject.contains(&"0".repeat(26)) && text.subject.len() <= 200, "{}", text.subject);
            assert!(kind_name(kind).len() <= 32);
        }
    }
}
