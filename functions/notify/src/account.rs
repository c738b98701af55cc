//! Mails and messages about a user's account.

use accounts::{
    Recipient, account,
    email::{self, MailVerificationToken, TellFormerEmail},
    identity::{self, LinkedIdentity},
    message::{self, NewMessage},
    notice::Notice,
    password_reset::{self, MailResetToken},
    recipient,
};
use i18n::{Locale, Message, RenderedMessage};
use kit::{
    Result, Timestamp, UserId, config,
    jobs::Job,
    log,
    mysql::{self, Connection, Transaction},
};

use crate::mail::Service;

/// A mail: to whom, and what.
type Mail = (String, RenderedMessage);

/// Only the e-mail contains the token, so neither a stolen session nor a backup of the jobs reveals it.
pub async fn mail_reset_token(job: &Job, reset: &MailResetToken) -> Result<()> {
    let user_id = reset.reset_password_of;
    if Service::configured().await?.is_none() {
        log::warn("a password reset was requested, but the shop has no e-mail service", &user_id);
    }
    mail_token(job, "reset", async |tx| {
        let Some(recipient) = locked_recipient(tx, user_id).await? else { return Ok(None) };
        let (locale, Some(email)) = (recipient.locale(), recipient.email) else { return Ok(None) };
        let linked = linked_providers(tx, user_id).await?;
        let link = link("reset_url", "reset", &password_reset::issue(tx, user_id).await?).await?;
        let message = Message::PasswordReset { link: &link, minutes: password_reset::TTL_MINUTES, linked: &linked };
        Ok(Some((email, message.render(locale))))
    })
    .await
}

/// Mails a token to an address that is not verified.
pub async fn mail_verification_token(job: &Job, verification: &MailVerificationToken) -> Result<()> {
    let user_id = verification.verify_email_of;
    mail_token(job, "verify", async |tx| {
        let account = account::find_locked(tx, user_id).await?.filter(|account| !account.email_verified);
        let Some(email) = account.and_then(|account| account.email) else { return Ok(None) };
        let locale = accounts::locale(tx, user_id).await?.unwrap_or_default();
        let link = link("verify_url", "verify", &email::issue(tx, user_id, &email).await?).await?;
        let message = Message::EmailVerification { link: &link, hours: email::TTL_HOURS };
        Ok(Some((email, message.render(locale))))
    })
    .await
}

/// Sends the mail that `issue` makes, if it makes one, and finishes the job. Each attempt issues a new token, which revokes
/// the earlier ones.
async fn mail_token(
    job: &Job,
    kind: &str,
    issue: impl AsyncFn(&mut Transaction) -> Result<Option<Mail>>,
) -> Result<()> {
    if let Some(service) = Service::configured().await?
        && let Some((email, message)) = mysql::transaction(issue).await?
    {
        let key = format!("{kind}-{}-{}", job.id, Timestamp::now().0);
        service.send(&key, &email, &message.subject, &message.body).await?;
    }
    mysql::transaction(async |tx| job.finish(tx).await).await
}

/// Under the user's lock, which a change of the address takes, too: the token goes to the address that it is for.
async fn locked_recipient(tx: &mut Transaction, user_id: UserId) -> Result<Option<Recipient>> {
    match account::find_locked(tx, user_id).await? {
        Some(_) => recipient(tx, user_id).await,
        None => Ok(None),
    }
}

/// What the variable says the link begins with, or else the shop's own page.
async fn link(variable: &'static str, page: &str, token: &str) -> Result<String> {
    let beginning = config::text(variable).await?;
    if !beginning.is_empty() {
        return Ok(format!("{beginning}{token}"));
    }
    let shop = config::text("public_url").await?;
    Ok(format!("{}/{page}?token={token}", shop.trim_end_matches('/')))
}

async fn linked_providers(db: &mut Connection, user_id: UserId) -> Result<Vec<String>> {
    let identities = identity::list(db, user_id).await?;
    Ok(identities.into_iter().map(|LinkedIdentity { provider, .. }| provider).collect())
}

/// Tells a user about a change of their account: by a message, and by a mail.
pub async fn notify(job: &Job, notice: &Notice) -> Result<()> {
    let Notice { changed_account: user_id, change } = notice;
    let user_id = *user_id;
    let service = Service::configured().await?;
    let mail: Option<Mail> = mysql::transaction(async |tx| {
        let Some(recipient) = recipient(tx, user_id).await? else { return Ok(None) };
        let linked = linked_providers(tx, user_id).await?;
        let text = change.message(&linked).render(recipient.locale());
        let RenderedMessage { subject, body } = text.clone();
        let message = NewMessage { user_id, job, kind: change.kind(), order_no: None, subject, body };
        message::insert_all(tx, vec![message]).await?;
        Ok(recipient.email.map(|email| (email, text)))
    })
    .await?;
    let is_mailed = match (service, mail) {
        (Some(service), Some((email, text))) => {
            // If this worker dies right after, the service recognises the repeated mail by its key.
            service.send(&format!("message-{}", job.id), &email, &text.subject, &text.body).await?;
            true
        }
        _ => false,
    };
    mysql::transaction(async |tx| {
        job.finish(tx).await?;
        if is_mailed { message::mark_sent(tx, job).await } else { Ok(()) }
    })
    .await
}

/// Tells an address that it was replaced, and forgets it.
pub async fn tell_former_email(job: &Job, task: &TellFormerEmail) -> Result<()> {
    let mut db = mysql::connection().await?;
    let former = email::find_former(&mut db, task.former_email).await?;
    let locale = match &former {
        Some(former) => accounts::locale(&mut db, former.user_id).await?.unwrap_or_default(),
        None => Locale::default(),
    };
    drop(db);
    if let Some(service) = Service::configured().await?
        && let Some(former) = former
    {
        let text = Message::EmailReplaced.render(locale);
        service.send(&format!("former-{}", job.id), &former.email, &text.subject, &text.body).await?;
    }
    mysql::transaction(async |tx| {
        job.finish(tx).await?;
        email::forget_former(tx, task.former_email).await
    })
    .await
}
