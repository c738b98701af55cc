//! Orders, which the buyer pays.

use payment_protocol::{
    amount, answer,
    key::PrivateKey,
    request, settings, text, time,
    wit::{Action, Context, Error, Payment, PaymentReport, PaymentState, Step},
};
use serde::{Deserialize, Serialize};

use crate::api::{self, Answer, Refusal};

type Result<T, E = Error> = std::result::Result<T, E>;

/// Refusals that say "look again": an earlier attempt was paid or closed.
const QUERY_INSTEAD: [&str; 5] = ["ORDER_PAID", "ORDERPAID", "ORDER_CLOSED", "ORDERCLOSED", "OUT_TRADE_NO_USED"];
const NO_SUCH_ORDER: [&str; 4] = ["ORDER_NOT_EXIST", "ORDERNOTEXIST", "RESOURCE_NOT_EXISTS", "NOT_FOUND"];

#[derive(Serialize)]
struct Order<'a> {
    appid: &'a str,
    mchid: &'a str,
    description: String,
    out_trade_no: &'a str,
    time_expire: String,
    notify_url: &'a str,
    amount: Total<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payer: Option<Payer<'a>>,
}

#[derive(Serialize)]
struct Total<'a> {
    total: i64,
    currency: &'a str,
}

#[derive(Serialize)]
struct Payer<'a> {
    openid: &'a str,
}

/// An order as WeChat shows it, in answers and in notifications.
#[derive(Deserialize)]
pub struct Transaction {
    appid: String,
    mchid: String,
    pub out_trade_no: String,
    transaction_id: Option<String>,
    trade_state: String,
    amount: Option<Amount>,
}

#[derive(Deserialize)]
struct Amount {
    total: Option<i64>,
    currency: Option<String>,
}

/// Orders, by the flow.
pub fn charge(context: &Context, payment: &Payment) -> Result<Step> {
    if payment.currency != "CNY" {
        return Err(Error::Rejected(format!("WeChat Pay takes CNY, not {}", payment.currency)));
    }
    let payer = match (payment.flow.as_str(), &payment.openid) {
        ("native", _) => None,
        ("jsapi", Some(openid)) => Some(Payer { openid }),
        ("jsapi", None) => return Err(Error::Rejected("jsapi needs the buyer's openid".to_owned())),
        (flow, _) => return Err(Error::Rejected(format!("WeChat Pay has no flow {flow}"))),
    };
    let order = Order {
        appid: settings::required(context, "wechat_appid")?,
        mchid: settings::required(context, "wechat_mchid")?,
        // WeChat's text has characters of up to three bytes, so no emoji.
        description: text::plain(&payment.subject, 127, |c| c.len_utf8() < 4),
        out_trade_no: &payment.payment_no,
        time_expire: time::rfc3339(payment.expires_at),
        notify_url: &payment.notify_url,
        amount: Total { total: amount::positive(payment.amount)?, currency: "CNY" },
        payer,
    };
    let body = serde_json::to_string(&order).map_err(|e| Error::Rejected(e.to_string()))?;
    api::call(context, "POST", &format!("/v3/pay/transactions/{}", payment.flow), body)
}

pub fn query(context: &Context, payment: &Payment) -> Result<Step> {
    let number = request::path_segment(&payment.payment_no)?;
    let mchid = request::path_segment(settings::required(context, "wechat_mchid")?)?;
    api::call(context, "GET", &format!("/v3/pay/transactions/out-trade-no/{number}?mchid={mchid}"), String::new())
}

pub fn close(context: &Context, payment: &Payment) -> Result<Step> {
    let number = request::path_segment(&payment.payment_no)?;
    let body = serde_json::json!({ "mchid": settings::required(context, "wechat_mchid")? });
    api::call(context, "POST", &format!("/v3/pay/transactions/out-trade-no/{number}/close"), body.to_string())
}

/// Goes on with a charge.
pub fn charged(context: &Context, payment: &Payment, result: Result<Answer, Refusal>) -> Result<Step> {
    #[derive(Deserialize)]
    struct Ordered {
        code_url: Option<String>,
        prepay_id: Option<String>,
    }
    let ordered: Ordered = match result {
        Ok(answer) => answer.read()?,
        Err(refusal) if QUERY_INSTEAD.contains(&refusal.code.as_str()) => return query(context, payment),
        Err(refusal) => return Err(refusal.into()),
    };
    let action = match (payment.flow.as_str(), ordered) {
        ("native", Ordered { code_url: Some(code), .. }) => Action::QrCode(code),
        ("jsapi", Ordered { prepay_id: Some(id), .. }) => Action::Sdk(sdk_parameters(context, &id)?),
        _ => return Err(Error::Unknown("WeChat's answer has nothing to pay with".to_owned())),
    };
    Ok(answer::payment(answer::payment_state(&payment.payment_no, PaymentState::RequiresAction(action))))
}

/// What the page gives to WeChat's JavaScript.
fn sdk_parameters(context: &Context, prepay_id: &str) -> Result<String> {
    let appid = settings::required(context, "wechat_appid")?;
    let timestamp = context.now.div_euclid(1_000).to_string();
    let package = format!("prepay_id={prepay_id}");
    let signed = pay_sign(appid, &timestamp, &context.nonce, &package);
    let signature = PrivateKey::from_setting(context, "wechat_private_key")?.sign(&signed)?;
    let parameters = serde_json::json!({
        "appId": appid,
        "timeStamp": timestamp,
        "nonceStr": context.nonce,
        "package": package,
        "signType": "RSA",
        "paySign": signature,
    });
    Ok(parameters.to_string())
}

pub(crate) fn pay_sign(appid: &str, timestamp: &str, nonce: &str, package: &str) -> String {
    format!("{appid}\n{timestamp}\n{nonce}\n{package}\n")
}

/// Goes on with a query. An order that WeChat does not know is `missing`.
pub fn queried(
    context: &Context,
    payment: &Payment,
    result: Result<Answer, Refusal>,
    missing: PaymentState,
) -> Result<Step> {
    let transaction: Transaction = match result {
        Ok(answer) => answer.read()?,
        Err(refusal) if NO_SUCH_ORDER.contains(&refusal.code.as_str()) => {
            return Ok(answer::payment(answer::payment_state(&payment.payment_no, missing)));
        }
        Err(refusal) => return Err(refusal.into()),
    };
    if transaction.out_trade_no != payment.payment_no {
        return Err(answer::other("the payment"));
    }
    Ok(answer::payment(report(context, transaction)?))
}

/// Goes on with a close.
pub fn closed(context: &Context, payment: &Payment, result: Result<Answer, Refusal>) -> Result<Step> {
    if let Err(refusal) = result {
        if QUERY_INSTEAD.contains(&refusal.code.as_str()) {
            return query(context, payment);
        }
        if !NO_SUCH_ORDER.contains(&refusal.code.as_str()) {
            return Err(refusal.into());
        }
    }
    Ok(answer::payment(answer::payment_state(&payment.payment_no, PaymentState::Canceled)))
}

/// What an order says, which must be of this merchant and app.
pub fn report(context: &Context, transaction: Transaction) -> Result<PaymentReport> {
    for (value, setting) in [(&transaction.mchid, "wechat_mchid"), (&transaction.appid, "wechat_appid")] {
        if value != settings::required(context, setting)? {
            return Err(answer::other(setting));
        }
    }
    let state = match transaction.trade_state.as_str() {
        "NOTPAY" | "USERPAYING" | "ACCEPT" => PaymentState::Pending,
        // It was paid before it was refunded.
        "SUCCESS" | "REFUND" => PaymentState::Captured,
        "CLOSED" | "REVOKED" => PaymentState::Canceled,
        "PAYERROR" => PaymentState::Failed("the buyer's payment failed".to_owned()),
        _ => return Err(Error::Unknown("an unknown trade_state".to_owned())),
    };
    let (amount, currency) = transaction.amount.map_or((None, None), |amount| (amount.total, amount.currency));
    let reference = transaction.transaction_id;
    Ok(PaymentReport { payment_no: transaction.out_trade_no, state, amount, currency, reference })
}
