//! Users and what belongs to them. The only owner of the SQL on `users`, `sessions`, `refresh_tokens`,
//! `password_resets`, `email_verifications`, `former_emails`, `identities`, `addresses` and `messages`.

pub mod account;
pub mod address;
pub mod client;
pub mod deletion;
pub mod email;
pub mod identity;
mod language;
pub mod lockout;
pub mod message;
pub mod notice;
pub mod owner;
pub mod password;
pub mod password_reset;
pub mod profile;
mod recipient;
pub mod retention;
pub mod session;
pub mod sign_in;

pub use account::Account;
pub use language::{locale, requested_locale};
pub use profile::Profile;
pub use recipient::{Recipient, recipient, recipients};
pub use sign_in::Tokens;
