//! Payment providers.

use kit::{Cents, PaymentNo, Problem, Result, config, mysql, text_column};
use serde::{Deserialize, Serialize};
use strum::{EnumString, IntoStaticStr};
use utoipa::ToSchema;

/// A payment provider.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, EnumString, IntoStaticStr, ToSchema)]
#[serde(rename_all = "kebab-case")]
#[strum(serialize_all = "kebab-case")]
pub enum Provider {
    /// Settles at once.
    Mock,
    /// Declines.
    MockFail,
    /// Waits until the customer pays or declines on a page.
    MockLater,
}

text_column!(Provider);

/// What a customer has to do to pay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// Open a page.
    Redirect {
        #[schema(format = "uri", example = "https://shop.example/api/payment/mock-later/01KAVT2QB0M3E5X7K9S1D4F6GH")]
        url: String,
    },
}

impl mysql::Column for Action {
    fn from_value(value: mysql::DbValue) -> std::result::Result<Self, String> {
        let json = String::from_value(value)?;
        serde_json::from_str(&json).map_err(|_| "is not an action".to_owned())
    }
}

/// What a provider says when it is asked for money.
pub(crate) enum Charge {
    Succeeded,
    Declined,
    /// The customer has to do something first.
    Pending(Action),
}

impl Provider {
    /// The name in the API and in the database.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// In which ways it can be paid, the default first; none if there is only one way.
    pub fn flows(self) -> &'static [&'static str] {
        match self {
            Provider::Mock | Provider::MockFail => &[],
            Provider::MockLater => &["page"],
        }
    }

    /// The providers that customers can choose: those that the variable `payment_providers` names. If it is empty: `mock`,
    /// `mock-fail` and, unless `public_url` is https, `mock-later`, which anyone who has the address of its page can
    /// settle. 503 if the variable names an unknown provider.
    pub async fn configured() -> Result<Vec<Provider>> {
        let names = config::text("payment_providers").await?;
        if names.is_empty() {
            let mut all = vec![Provider::Mock, Provider::MockFail];
            all.extend((!config::is_https().await?).then_some(Provider::MockLater));
            return Ok(all);
        }
        let names = names.split(',').map(str::trim).filter(|name| !name.is_empty());
        names
            .map(|name| {
                let unknown = |_| config::invalid("payment_providers", format!("there is no provider {name}"));
                name.parse().map_err(unknown)
            })
            .collect()
    }

    /// Asks for money. The provider recognises a repeated request by `payment_no`.
    pub(crate) fn charge(self, payment_no: &PaymentNo, amount: Cents, public_url: &str) -> Charge {
        match self {
            // Discounts can make an order free, and providers accept no payments of zero.
            _ if amount == Cents(0) => Charge::Succeeded,
            Provider::Mock => Charge::Succeeded,
            Provider::MockFail => Charge::Declined,
            Provider::MockLater => Charge::Pending(Action::Redirect {
                url: format!("{}/api/payment/mock-later/{payment_no}", public_url.trim_end_matches('/')),
            }),
        }
    }

    /// Refunds a payment. The provider recognises a repeated request by `refund_no`. An error if the refund has to be
    /// retried later.
    pub(crate) async fn refund(self, _payment_no: &str, _refund_no: &str, amount: Cents) -> Result<()> {
        match self {
            _ if amount == Cents(0) => Ok(()),
            Provider::Mock | Provider::MockLater => Ok(()),
            Provider::MockFail => Err(Problem::internal().because("mock-fail never captures a payment")),
        }
    }
}
