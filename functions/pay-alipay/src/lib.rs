//! Alipay, as `mall:payment/provider` of `wit/payment.wit`: the flow `page` (the buyer pays on Alipay's page) and `qr` (the
//! buyer scans a code).

mod api;
mod notification;
mod page;
#[cfg(test)]
mod tests;
mod trade;
mod wit;

use payment_protocol::{
    answer,
    wit::{Context, Error, Notice, Operation, Payment, PaymentState, Request, Response, Step},
};
use wit::Guest;

struct Provider;

#[cfg(target_family = "wasm")]
wit::export!(Provider with_types_in wit);

impl Guest for Provider {
    fn start(context: Context, operation: Operation) -> Result<Step, Error> {
        match &operation {
            Operation::Charge(payment) => charge(&context, payment),
            Operation::Query(payment) => trade::query(&context, &payment.payment_no),
            Operation::Close(payment) => trade::close(&context, &payment.payment_no),
            Operation::Refund(refund) => trade::refund(&context, refund),
            Operation::QueryRefund(refund) => trade::query_refund(&context, refund),
        }
    }

    fn receive(context: Context, operation: Operation, sent: Request, got: Response) -> Result<Step, Error> {
        let method = api::Method::of(&sent.url)?;
        let result = api::read(&context, &got)?;
        match &operation {
            Operation::Charge(payment) => trade::charged(&context, payment, method, result),
            Operation::Query(payment) => trade::queried(payment, method, result, PaymentState::Pending),
            Operation::Close(payment) => trade::closed(&context, payment, method, result),
            Operation::Refund(refund) => trade::refunded(refund, method, result),
            Operation::QueryRefund(refund) => trade::refund_queried(refund, method, result),
        }
    }

    fn verify(context: Context, got: Request) -> Result<Notice, Error> {
        notification::verify(&context, &got)
    }
}

fn charge(context: &Context, payment: &Payment) -> Result<Step, Error> {
    if payment.currency != "CNY" {
        return Err(Error::Rejected(format!("Alipay takes CNY, not {}", payment.currency)));
    }
    match payment.flow.as_str() {
        "page" => {
            let action = page::url(context, payment)?;
            let state = PaymentState::RequiresAction(action);
            Ok(answer::payment(answer::payment_state(&payment.payment_no, state)))
        }
        "qr" => trade::precreate(context, payment),
        flow => Err(Error::Rejected(format!("Alipay has no flow {flow}"))),
    }
}
