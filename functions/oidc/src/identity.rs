//! Signing in with an identity, and linking it to an account.

use accounts::{
    Account,
    account::{self, NewAccount},
    identity::{self, Identity, identity_taken},
    notice::{self, Change},
    owner, requested_locale, session,
};
use kit::{
    Code, Problem, Result, SessionId, Timestamp, UserId, auth,
    mysql::{self, Transaction},
    random,
    validate::Validator,
};

use crate::provider::Claims;

/// The account to which the identity is linked; a new account if there is none.
pub async fn sign_in(provider: &str, claims: &Claims) -> Result<Account> {
    let identity = Identity { provider, subject: &claims.sub };
    mysql::transaction(async |tx| {
        let user_id = match identity::find_user(tx, identity).await? {
            Some(user_id) => user_id,
            None => {
                let user_id = create_account(tx, claims).await?;
                identity::insert(tx, identity, user_id).await?;
                user_id
            }
        };
        account::get(tx, user_id).await
    })
    .await
}

/// Links the identity to an account.
/// - 401 if the session that requested it has ended in the meantime.
/// - 403 unless the provider has verified the account's e-mail address. An account that has none gets the verified one, if
///   the session began in the last ten minutes; else 403 `session_too_old`.
/// - 409 `identity_taken` if it is linked to another account, or the account to another identity of this provider.
pub async fn link(provider: &str, claims: &Claims, user_id: UserId, session_id: SessionId) -> Result<Account> {
    let identity = Identity { provider, subject: &claims.sub };
    mysql::transaction(async |tx| {
        let account = account::lock(tx, user_id).await?;
        session::require_active(tx, user_id, session_id).await?;
        match identity::find_user(tx, identity).await? {
            Some(owner) if owner == user_id => return Ok(account),
            Some(_) => return Err(identity_taken("This identity is already linked to another account")),
            None => {}
        }
        match (&account.email, verified_email(claims)) {
            (Some(own), Some(verified)) if own.eq_ignore_ascii_case(verified) => {
                account::set_email_verified(tx, user_id).await?;
            }
            (None, Some(verified)) => {
                // Nothing but the session shows that these are the same person.
                owner::require_recent(tx, user_id, session_id).await?;
                account::set_email(tx, user_id, Some(verified), true).await?;
            }
            _ => {
                let detail = "The provider has not verified the e-mail address of your account";
                return Err(Problem::new(Code::Forbidden, detail));
            }
        }
        identity::insert(tx, identity, user_id).await?;
        notice::send(tx, user_id, Change::IdentityLinked { provider: provider.to_owned() }).await?;
        Ok(account)
    })
    .await
}

fn verified_email(claims: &Claims) -> Option<&str> {
    let email = claims.email.as_deref().filter(|_| claims.email_verified)?;
    Validator::new().email("email", email).finish().is_ok().then_some(email)
}

/// An account without a password. Its username is the one at the provider, if that is free.
async fn create_account(tx: &mut Transaction, claims: &Claims) -> Result<UserId> {
    let username = match claims.preferred_username.as_deref().filter(|name| auth::is_username(name)) {
        Some(preferred) if !account::username_exists(tx, preferred).await? => preferred.to_owned(),
        _ => format!("user-{}", random::token::<9>()?),
    };
    let new = NewAccount {
        username: &username,
        password_hash: "",
        email: verified_email(claims),
        email_verified: true,
        locale: requested_locale(),
        created_at: Timestamp::now(),
    };
    account::insert(tx, new).await.map_err(|problem| match problem.code {
        // Another transaction has just used it: the next attempt generates one.
        Code::UsernameTaken => Problem::conflict().because("the username has just been taken"),
        _ => problem,
    })
}
