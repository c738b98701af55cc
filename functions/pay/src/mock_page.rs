//! The page of `mock-later`, on which whoever has its address pays or declines: for demos and tests.

use axum::response::{Html, IntoResponse, Redirect, Response};
use http::header;
use kit::{Code, PaymentNo, Problem, Result, extract::Path, mysql};
use ordering::{
    Payment, PaymentStatus, Provider,
    payment::{self, Report},
    payment_list,
};

/// No script, no style, nothing from elsewhere.
const POLICY: &str = "default-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Open the page of a mock-later payment
///
/// It asks whether to pay or to decline, and needs no sign-in: the address is what the customer was given.
#[utoipa::path(
    get, operation_id = "mock_page", path = "/api/payment/mock-later/{payment_no}", tag = "orders",
    params(("payment_no" = PaymentNo, Path)),
    responses(
        (status = 200, description = "A page", content_type = "text/html"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn show(Path(payment_no): Path<PaymentNo>) -> Result<Response> {
    let (payment, return_url) = find(&payment_no).await?;
    Ok(page(&payment, return_url.as_deref()))
}

/// Pay on the page of a mock-later payment
#[utoipa::path(
    post, operation_id = "mock_pay", path = "/api/payment/mock-later/{payment_no}/pay", tag = "orders",
    params(("payment_no" = PaymentNo, Path)),
    responses(
        (status = 303, description = "To the page"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn pay(Path(payment_no): Path<PaymentNo>) -> Result<Response> {
    settle(&payment_no, Report::Captured).await
}

/// Decline on the page of a mock-later payment
#[utoipa::path(
    post, operation_id = "mock_decline", path = "/api/payment/mock-later/{payment_no}/decline", tag = "orders",
    params(("payment_no" = PaymentNo, Path)),
    responses(
        (status = 303, description = "To the page"),
        (status = 404, description = "`not_found`"),
    )
)]
pub async fn decline(Path(payment_no): Path<PaymentNo>) -> Result<Response> {
    settle(&payment_no, Report::Declined).await
}

/// Leads back to the page, which says what became of the payment: another answer may have been faster, or the order has
/// ended.
async fn settle(payment_no: &PaymentNo, report: Report) -> Result<Response> {
    find(payment_no).await?;
    match mysql::transaction(async |tx| payment::settle(tx, payment_no, report).await).await {
        Err(problem) if !matches!(problem.code, Code::PaymentState | Code::OrderState) => Err(problem),
        _ => Ok(Redirect::to(&path(payment_no)).into_response()),
    }
}

fn path(payment_no: &PaymentNo) -> String {
    format!("/api/payment/mock-later/{payment_no}")
}

/// 404 if it is a payment of another provider, or if customers can't choose this one.
async fn find(payment_no: &PaymentNo) -> Result<(Payment, Option<String>)> {
    if !Provider::configured().await?.contains(&Provider::MockLater) {
        return Err(Problem::not_found("payment"));
    }
    let found = payment_list::find_any(&mut mysql::connection().await?, payment_no).await?;
    match found.0.provider {
        Provider::MockLater => Ok(found),
        _ => Err(Problem::not_found("payment")),
    }
}

fn page(payment: &Payment, return_url: Option<&str>) -> Response {
    let Payment { payment_no, order_no, amount_cents, currency, .. } = payment;
    let cents = amount_cents.0.unsigned_abs();
    let amount = format!("{}.{:02} {}", cents / 100, cents % 100, escape(currency));
    let action = path(payment_no);
    let content = match payment.status {
        PaymentStatus::Pending => format!(
            "<form method=\"post\" action=\"{action}/pay\"><button>Pay · 支付</button></form>\n\
             <form method=\"post\" action=\"{action}/decline\"><button>Decline · 拒绝</button></form>"
        ),
        PaymentStatus::Succeeded => "<p role=\"status\">Paid · 已支付</p>".to_owned(),
        PaymentStatus::Failed => "<p role=\"status\">Declined · 已拒绝</p>".to_owned(),
        PaymentStatus::Canceled => "<p role=\"status\">Canceled · 已取消</p>".to_owned(),
    };
    let back = return_url.map(|url| format!("\n<p><a href=\"{}\">Back to the shop · 返回商城</a></p>", escape(url)));
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>Test payment · 测试支付</title>\n\
         <h1>Test payment · 测试支付</h1>\n<p>Order {} · 订单</p>\n<p><strong>{amount}</strong></p>\n\
         {content}{}\n</html>\n",
        escape(order_no.as_str()),
        back.unwrap_or_default(),
    );
    let headers = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (header::REFERRER_POLICY, "same-origin"),
    ];
    (headers, Html(html)).into_response()
}

/// A text in HTML, in an element or in a quoted attribute.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_can_not_leave_its_attribute() {
        assert_eq!(escape("\"><script>'&"), "&quot;&gt;&lt;script&gt;&#39;&amp;");
    }
}
