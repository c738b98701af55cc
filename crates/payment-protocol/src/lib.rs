//! What the payment providers (`functions/pay-…`) share: keys and signatures, settings, requests and answers.
//!
//! Everything here is pure. What comes from outside is bounded before it is read, and nothing panics on it.

pub mod amount;
pub mod answer;
pub mod key;
pub mod request;
pub mod secret;
pub mod settings;
pub mod text;
pub mod time;
pub mod wit;

#[cfg(feature = "testing")]
pub mod testing;
