//! Notifications: signed, with an encrypted resource in them.

use payment_protocol::{
    answer, secret, settings,
    wit::{Context, Error, Notice, RefundReport, Report, Request},
};
use serde::{Deserialize, de::DeserializeOwned};

use crate::{api, order, refund};

#[derive(Deserialize)]
struct Notification {
    event_type: String,
    resource: Resource,
}

#[derive(Deserialize)]
struct Resource {
    algorithm: String,
    ciphertext: String,
    #[serde(default)]
    associated_data: Option<String>,
    nonce: String,
}

#[derive(Deserialize)]
struct Refunded {
    mchid: String,
    out_refund_no: String,
    refund_id: Option<String>,
    refund_status: String,
    amount: Amount,
}

#[derive(Deserialize)]
struct Amount {
    refund: i64,
}

/// Verifies a notification, decrypts and reads it. The numbers and the amount are for the shop to compare.
pub fn verify(context: &Context, got: &Request) -> Result<Notice, Error> {
    api::verify(context, &got.headers, &got.body)?;
    let notification: Notification =
        answer::parse(&got.body).ok_or_else(|| Error::Forged("the notification can't be read".to_owned()))?;
    let report = match notification.event_type.as_str() {
        "TRANSACTION.SUCCESS" => Report::Payment(order::report(context, decrypted(context, &notification.resource)?)?),
        "REFUND.SUCCESS" | "REFUND.ABNORMAL" | "REFUND.CLOSED" => {
            let refunded: Refunded = decrypted(context, &notification.resource)?;
            if refunded.mchid != settings::required(context, "wechat_mchid")? {
                return Err(answer::other("wechat_mchid"));
            }
            Report::Refund(RefundReport {
                refund_no: refunded.out_refund_no,
                state: refund::state(&refunded.refund_status)?,
                amount: Some(refunded.amount.refund),
                reference: refunded.refund_id,
            })
        }
        _ => Report::Nothing,
    };
    Ok(Notice { report, answer: answer::reply(204, "") })
}

fn decrypted<T: DeserializeOwned>(context: &Context, resource: &Resource) -> Result<T, Error> {
    let key = settings::required(context, "wechat_apiv3_key")?;
    if key.len() != 32 {
        return Err(settings::wrong("wechat_apiv3_key", "does not have 32 bytes"));
    }
    let forged = || Error::Forged("the resource of the notification".to_owned());
    if resource.algorithm != "AEAD_AES_256_GCM" {
        return Err(forged());
    }
    let data = resource.associated_data.as_deref().unwrap_or_default();
    let plain = secret::decrypt(key.as_bytes(), &resource.nonce, data, &resource.ciphertext).ok_or_else(forged)?;
    answer::parse(&plain).ok_or_else(forged)
}
