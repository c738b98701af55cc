//! The bindings of the provider's interface.
// Generated code is exempt from our lints.
#![allow(clippy::all, clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::unwrap_used)]

wit_bindgen::generate!({
    world: "payment-provider",
    path: "../../wit/payment.wit",
    with: { "mall:payment/types@0.1.0": payment_protocol::wit },
});
pub use exports::mall::payment::provider::Guest;
