//! The texts that the shop sends to its customers, in all languages that it supports. They are in `locales/`.
//!
//! A new text is a variant of [`Message`] or [`CouponRefusal`], and an entry in each file; the tests report what is
//! missing.

mod catalog;
mod locale;

use fluent_bundle::{FluentArgs, FluentValue};
use strum::IntoStaticStr;

pub use locale::Locale;

/// A message to a customer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Message<'a> {
    OrderPaid {
        order_no: &'a str,
    },
    OrderShipped {
        order_no: &'a str,
    },
    /// At the customer's request.
    OrderCancelled {
        order_no: &'a str,
    },
    /// Cancelled because it was not paid in time.
    OrderExpired {
        order_no: &'a str,
    },
    OrderRefunded {
        order_no: &'a str,
    },
    RefundRejected {
        order_no: &'a str,
    },
    PasswordReset {
        link: &'a str,
        /// How long the link works.
        minutes: u32,
        /// The providers through which the customer can sign in, too.
        linked: &'a [String],
    },
    EmailVerification {
        link: &'a str,
        /// How long the link works.
        hours: u32,
    },
    PasswordChanged,
    /// By the link of [`Message::PasswordReset`].
    PasswordWasReset {
        linked: &'a [String],
    },
    EmailChanged,
    /// To the address that was replaced.
    EmailReplaced,
    IdentityLinked {
        provider: &'a str,
    },
    IdentityUnlinked {
        provider: &'a str,
    },
}

/// A message in one language, as plain text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedMessage {
    pub subject: String,
    pub body: String,
}

impl Message<'_> {
    pub fn render(self, locale: Locale) -> RenderedMessage {
        let (id, args) = (self.into(), self.args());
        RenderedMessage {
            subject: catalog::attribute(locale, id, "subject", &args),
            body: catalog::value(locale, id, &args),
        }
    }

    fn args(&self) -> FluentArgs<'_> {
        match *self {
            Message::OrderPaid { order_no }
            | Message::OrderShipped { order_no }
            | Message::OrderCancelled { order_no }
            | Message::OrderExpired { order_no }
            | Message::OrderRefunded { order_no }
            | Message::RefundRejected { order_no } => FluentArgs::from_iter([("order_no", order_no)]),
            Message::PasswordReset { link, minutes, linked } => {
                let mut args = linked_args(linked);
                args.set("link", link);
                args.set("minutes", minutes);
                args
            }
            Message::EmailVerification { link, hours } => {
                FluentArgs::from_iter([("link", FluentValue::from(link)), ("hours", hours.into())])
            }
            Message::PasswordWasReset { linked } => linked_args(linked),
            Message::IdentityLinked { provider } | Message::IdentityUnlinked { provider } => {
                FluentArgs::from_iter([("provider", provider)])
            }
            Message::PasswordChanged | Message::EmailChanged | Message::EmailReplaced => FluentArgs::new(),
        }
    }
}

/// How many providers there are, and their names.
fn linked_args(linked: &[String]) -> FluentArgs<'static> {
    let names = linked.join(", ");
    FluentArgs::from_iter([("linked", FluentValue::from(linked.len())), ("providers", names.into())])
}

/// Why a customer can't have or use a coupon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, IntoStaticStr)]
#[cfg_attr(test, derive(strum::EnumIter))]
#[strum(serialize_all = "kebab-case", prefix = "coupon-")]
pub enum CouponRefusal {
    /// No coupon has this code.
    Unknown,
    NotStarted,
    Ended,
    /// This customer has reached the limit for one customer.
    UserLimitReached,
    /// All customers together have reached its total limit.
    FullyClaimed,
    /// It applies to none of the items.
    OutOfScope,
    /// The items that it applies to cost less than its minimum.
    BelowMinimum,
    /// It would take nothing off.
    NoEffect,
}

impl CouponRefusal {
    pub fn render(self, locale: Locale) -> String {
        catalog::value(locale, self.into(), &FluentArgs::new())
    }
}

#[cfg(test)]
mod tests;
