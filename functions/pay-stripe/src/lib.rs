//! Stripe, as `mall:payment/provider` of `wit/payment.wit`: the flow `checkout` (the buyer pays on a page of Stripe's).

mod api;
mod notification;
mod refund;
mod session;
#[cfg(test)]
mod tests;
mod wit;

use payment_protocol::wit::{Context, Error, Notice, Operation, Request, Response, Step};
use wit::Guest;

struct Provider;

#[cfg(target_family = "wasm")]
wit::export!(Provider with_types_in wit);

impl Guest for Provider {
    fn start(context: Context, operation: Operation) -> Result<Step, Error> {
        match &operation {
            Operation::Charge(payment) => session::create(&context, payment),
            Operation::Query(payment) => session::query(&context, payment),
            Operation::Close(payment) => session::close(&context, payment),
            Operation::Refund(refund) => refund::start(&context, refund),
            Operation::QueryRefund(refund) => refund::query(&context, refund),
        }
    }

    fn receive(context: Context, operation: Operation, sent: Request, got: Response) -> Result<Step, Error> {
        match &operation {
            Operation::Charge(payment) | Operation::Query(payment) => session::answered(payment, &got),
            Operation::Close(payment) => session::closed(&context, payment, &sent, &got),
            Operation::Refund(refund) => refund::answered(&context, refund, &sent, &got, true),
            Operation::QueryRefund(refund) => refund::answered(&context, refund, &sent, &got, false),
        }
    }

    fn verify(context: Context, got: Request) -> Result<Notice, Error> {
        notification::verify(&context, &got)
    }
}
