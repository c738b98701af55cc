//! The URL of Alipay's page, which is a signed request of the v2 API. Nothing is called: the buyer's browser does.

use payment_protocol::{
    key::PrivateKey,
    settings, time,
    wit::{Action, Context, Error, Payment},
};

use crate::trade::Order;

/// Where the buyer pays.
pub fn url(context: &Context, payment: &Payment) -> Result<Action, Error> {
    let order = Order::new(payment, "FAST_INSTANT_TRADE_PAY", None)?;
    let content = serde_json::to_string(&order).map_err(|e| Error::Rejected(e.to_string()))?;
    let timestamp = time::beijing(context.now);
    let parameters = [
        ("app_id", settings::required(context, "alipay_app_id")?),
        ("method", "alipay.trade.page.pay"),
        ("format", "JSON"),
        ("charset", "utf-8"),
        ("sign_type", "RSA2"),
        ("timestamp", &timestamp),
        ("version", "1.0"),
        ("notify_url", &payment.notify_url),
        ("return_url", payment.return_url.as_deref().unwrap_or_default()),
        ("biz_content", &content),
    ];
    let mut parameters: Vec<_> = parameters.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    let signature = PrivateKey::from_setting(context, "alipay_private_key")?.sign(&to_sign(&mut parameters))?;
    parameters.push(("sign", &signature));
    let query = form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
    Ok(Action::Redirect(format!("{}/gateway.do?{query}", settings::base_url(context, "alipay_url")?)))
}

/// Sorts the parameters, and joins them as they are signed: not encoded.
pub fn to_sign<N: AsRef<str> + Ord, V: AsRef<str> + Ord>(parameters: &mut [(N, V)]) -> String {
    parameters.sort_unstable();
    let pairs: Vec<_> =
        parameters.iter().map(|(name, value)| format!("{}={}", name.as_ref(), value.as_ref())).collect();
    pairs.join("&")
}
