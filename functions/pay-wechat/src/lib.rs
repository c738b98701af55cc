//! WeChat Pay v3, as `mall:payment/provider` of `wit/payment.wit`: the flow `native` (the buyer scans a code) and `jsapi`
//! (the buyer pays on a page inside WeChat).

mod api;
mod notification;
mod order;
mod refund;
#[cfg(test)]
mod tests;
mod wit;

use payment_protocol::wit::{Context, Error, Notice, Operation, PaymentState, Request, Response, Step};
use wit::Guest;

struct Provider;

#[cfg(target_family = "wasm")]
wit::export!(Provider with_types_in wit);

impl Guest for Provider {
    fn start(context: Context, operation: Operation) -> Result<Step, Error> {
        match &operation {
            Operation::Charge(payment) => order::charge(&context, payment),
            Operation::Query(payment) => order::query(&context, payment),
            Operation::Close(payment) => order::close(&context, payment),
            Operation::Refund(refund) => refund::refund(&context, refund),
            Operation::QueryRefund(refund) => refund::query(&context, refund),
        }
    }

    fn receive(context: Context, operation: Operation, sent: Request, got: Response) -> Result<Step, Error> {
        let result = api::read(&context, &got)?;
        // Only orders are queried with GET, whichever operation needs to know what became of one.
        let is_query = sent.method == "GET";
        match &operation {
            Operation::Charge(payment) if !is_query => order::charged(&context, payment, result),
            Operation::Close(payment) if !is_query => order::closed(&context, payment, result),
            Operation::Charge(payment) | Operation::Query(payment) => {
                order::queried(&context, payment, result, PaymentState::Pending)
            }
            Operation::Close(payment) => order::queried(&context, payment, result, PaymentState::Canceled),
            Operation::Refund(refund) | Operation::QueryRefund(refund) => refund::answered(refund, result),
        }
    }

    fn verify(context: Context, got: Request) -> Result<Notice, Error> {
        notification::verify(&context, &got)
    }
}
