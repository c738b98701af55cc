//! Notifies users about their orders and their accounts: by a message in their account, and by e-mail if the shop has an
//! e-mail service and the user a verified address. It also sends the tokens for verifying addresses and for resetting
//! passwords.

mod account;
mod mail;

use accounts::{
    Recipient,
    email::{MailVerificationToken, TellFormerEmail},
    message::{self, NewMessage},
    notice::Notice,
    password_reset::MailResetToken,
    recipient, recipients,
};
use kit::{
    Result,
    jobs::{self, Job, Queue},
    mysql,
};
use ordering::notification::Notification;
use serde::Deserialize;

kit::worker!(work);

pub async fn work(_: Vec<u8>) -> Result<()> {
    let sends_mail = mail::Service::configured().await?.is_some();
    if sends_mail {
        return jobs::work(Queue::Notify, do_task).await;
    }
    // Without e-mail, a batch of messages takes a few statements.
    let kind = |task: &Task| matches!(task, Task::Notify(_)).then_some(());
    jobs::work_batched(Queue::Notify, kind, async |tasks| match tasks {
        [(job, task)] => do_task(job, task).await,
        notifications => write_messages(notifications).await,
    })
    .await
}

async fn do_task(job: &Job, task: &Task) -> Result<()> {
    match task {
        Task::Notify(notification) => notify(job, notification).await,
        Task::MailResetToken(reset) => account::mail_reset_token(job, reset).await,
        Task::MailVerificationToken(verification) => account::mail_verification_token(job, verification).await,
        Task::Notice(notice) => account::notify(job, notice).await,
        Task::TellFormerEmail(former) => account::tell_former_email(job, former).await,
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Task {
    Notify(Notification),
    MailResetToken(MailResetToken),
    MailVerificationToken(MailVerificationToken),
    Notice(Notice),
    TellFormerEmail(TellFormerEmail),
}

/// Inserts the messages of a batch.
async fn write_messages(tasks: &[(Job, Task)]) -> Result<()> {
    mysql::transaction(async |tx| {
        Job::finish_all(&tasks.iter().map(|(job, _)| *job).collect::<Vec<_>>(), tx).await?;
        let notifications = || {
            tasks.iter().filter_map(|(job, task)| match task {
                Task::Notify(notification) => Some((job, notification)),
                _ => None,
            })
        };
        let mut users: Vec<_> = notifications().map(|(_, notification)| notification.user_id).collect();
        users.sort_unstable();
        users.dedup();
        let recipients = recipients(tx, users).await?;
        let messages = notifications().filter_map(|(job, notification)| {
            let recipient = recipients.iter().find(|recipient| recipient.user_id == notification.user_id)?;
            new_message(job, notification, recipient)
        });
        message::insert_all(tx, messages.collect()).await
    })
    .await
}

fn new_message<'a>(job: &'a Job, notification: &'a Notification, recipient: &Recipient) -> Option<NewMessage<'a>> {
    let text = notification.message()?.render(recipient.locale());
    let Notification { user_id, order_no, kind } = notification;
    let (subject, body) = (text.subject, text.body);
    Some(NewMessage { user_id: *user_id, job, kind: *kind, order_no: Some(order_no), subject, body })
}

async fn notify(job: &Job, notification: &Notification) -> Result<()> {
    let service = mail::Service::configured().await?;
    let mail = mysql::transaction(async |tx| {
        let recipient = recipient(tx, notification.user_id).await?;
        let message = recipient.as_ref().and_then(|recipient| new_message(job, notification, recipient));
        let text = message.as_ref().map(|message| (message.subject.clone(), message.body.clone()));
        if let Some(message) = message {
            message::insert_all(tx, vec![message]).await?;
        }
        match (&service, text, recipient.and_then(|found| found.email)) {
            (Some(_), Some(text), Some(email)) => Ok(Some((email, text))),
            // There is nothing to mail.
            _ => job.finish(tx).await.map(|()| None),
        }
    })
    .await?;
    let (Some(service), Some((email, (subject, body)))) = (service, mail) else { return Ok(()) };
    // If this worker dies right after, the service recognises the repeated mail by its key.
    service.send(&format!("message-{}", job.id), &email, &subject, &body).await?;
    mysql::transaction(async |tx| {
        job.finish(tx).await?;
        message::mark_sent(tx, job).await
    })
    .await
}
