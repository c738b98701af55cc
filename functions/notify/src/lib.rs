//! Notifies users about their orders: by a message in their account, and by e-mail if the shop has an e-mail service
//! and the user an address. It also sends the tokens for resetting passwords.

mod mail;

use accounts::{
    Recipient,
    message::{self, NewMessage},
    password_reset::{self, MailResetToken},
    recipients,
};
use i18n::Message;
use kit::{
    Result, Timestamp, UserId, config,
    jobs::{self, Job, Queue},
    log,
    mysql::{self, Connection},
};
use ordering::notification::Notification;
use serde::Deserialize;

kit::worker!(work);

pub async fn work(_: Vec<u8>) -> Result<()> {
    let sends_mail = mail::Service::configured().await?.is_some();
    if sends_mail {
        return jobs::work(Queue::Notify, async |job, task| match task {
            Task::Notify(notification) => notify(job, notification).await,
            Task::MailResetToken(reset) => mail_reset_token(job, reset).await,
        })
        .await;
    }
    // Without e-mail, a batch of messages takes a few statements.
    let kind = |task: &Task| matches!(task, Task::Notify(_)).then_some(());
    jobs::work_batched(Queue::Notify, kind, async |tasks| match tasks {
        [(job, Task::MailResetToken(reset))] => mail_reset_token(job, reset).await,
        notifications => write_messages(notifications).await,
    })
    .await
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Task {
    Notify(Notification),
    MailResetToken(MailResetToken),
}

async fn recipient(db: &mut Connection, user_id: UserId) -> Result<Option<Recipient>> {
    Ok(recipients(db, [user_id]).await?.pop())
}

/// Only the e-mail contains the token, so neither a stolen session nor a backup of the jobs reveals it.
async fn mail_reset_token(job: &Job, reset: &MailResetToken) -> Result<()> {
    let user_id = reset.reset_password_of;
    let Some(service) = mail::Service::configured().await? else {
        log::warn("a password reset was requested, but the shop has no e-mail service", &user_id);
        return mysql::transaction(async |tx| job.finish(tx).await).await;
    };
    let issued = mysql::transaction(async |tx| {
        let Some(recipient) = recipient(tx, user_id).await? else { return Ok(None) };
        let locale = recipient.locale();
        match recipient.email {
            Some(email) => Ok(Some((email, locale, password_reset::issue(tx, user_id).await?))),
            None => Ok(None),
        }
    })
    .await?;
    if let Some((email, locale, token)) = issued {
        let link = format!("{}{token}", config::text("reset_url").await?);
        let message = Message::PasswordReset { link: &link, minutes: password_reset::TTL_MINUTES }.render(locale);
        // Each attempt issues a new token, which revokes the earlier ones.
        let key = format!("reset-{}-{}", job.id, Timestamp::now().0);
        service.send(&key, &email, &message.subject, &message.body).await?;
    }
    mysql::transaction(async |tx| job.finish(tx).await).await
}

/// Inserts the messages of a batch.
async fn write_messages(tasks: &[(Job, Task)]) -> Result<()> {
    mysql::transaction(async |tx| {
        Job::finish_all(&tasks.iter().map(|(job, _)| *job).collect::<Vec<_>>(), tx).await?;
        let notifications = || {
            tasks.iter().filter_map(|(job, task)| match task {
                Task::Notify(notification) => Some((job, notification)),
                Task::MailResetToken(_) => None,
            })
        };
        let mut users: Vec<_> = notifications().map(|(_, notification)| notification.user_id).collect();
        users.sort_unstable();
        users.dedup();
        let recipients = recipients(tx, users).await?;
        let messages = notifications().filter_map(|(job, notification)| {
            let recipient = recipients.iter().find(|recipient| recipient.user_id == notification.user_id)?;
            Some(new_message(job, notification, recipient))
        });
        message::insert_all(tx, messages.collect()).await
    })
    .await
}

fn new_message<'a>(job: &'a Job, notification: &'a Notification, recipient: &Recipient) -> NewMessage<'a> {
    let text = notification.message().render(recipient.locale());
    let Notification { user_id, order_no, kind } = notification;
    let (subject, body) = (text.subject, text.body);
    NewMessage { user_id: *user_id, job, kind: *kind, order_no: Some(order_no), subject, body }
}

async fn notify(job: &Job, notification: &Notification) -> Result<()> {
    let service = mail::Service::configured().await?;
    let mail = mysql::transaction(async |tx| {
        let recipient = recipient(tx, notification.user_id).await?;
        if let Some(recipient) = &recipient {
            message::insert_all(tx, vec![new_message(job, notification, recipient)]).await?;
        }
        let (locale, email) = (recipient.as_ref().map(Recipient::locale), recipient.and_then(|found| found.email));
        match (&service, email) {
            (Some(_), Some(email)) => Ok(Some((email, locale.unwrap_or_default()))),
            // There is nothing to mail.
            _ => job.finish(tx).await.map(|()| None),
        }
    })
    .await?;
    let (Some(service), Some((email, locale))) = (service, mail) else { return Ok(()) };
    let text = notification.message().render(locale);
    // If this worker dies right after, the service recognises the repeated mail by its key.
    service.send(&format!("message-{}", job.id), &email, &text.subject, &text.body).await?;
    mysql::transaction(async |tx| {
        job.finish(tx).await?;
        message::mark_sent(tx, job).await
    })
    .await
}
