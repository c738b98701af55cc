//! Every operation against every kind of answer, and notifications that are not what they seem.

mod answers;
mod notifications;
mod requests;

use payment_protocol::{
    request::header,
    testing::*,
    wit::{Context, Error, Header, Operation, PaymentState, Report, Request, Response, Step},
};

use crate::{Provider, wit::Guest};

const KEY_ID: &str = "PUB_KEY_ID_0114232134912410000000000000";
const APIV3_KEY: &str = "a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb";
const APPID: &str = "wxd678efh567hg6787";
const MCHID: &str = "1900007291";

fn shop() -> Context {
    context(&[
        ("wechat_url", "https://api.mch.weixin.qq.com"),
        ("wechat_appid", APPID),
        ("wechat_mchid", MCHID),
        ("wechat_serial", "5157F09EFDC096DE15EBE81A47057A72"),
        ("wechat_private_key", SHOP_PRIVATE),
        ("wechat_apiv3_key", APIV3_KEY),
        ("wechat_public_key_id", KEY_ID),
        ("wechat_public_key", PROVIDER_PUBLIC),
    ])
}

/// WeChat's headers for a body, at some seconds from now.
fn signature(body: &str, serial: &str, off: i64) -> Vec<Header> {
    let timestamp = (NOW / 1_000 + off).to_string();
    let signature = provider_signature(&format!("{timestamp}\nnonce\n{body}\n"));
    vec![
        header("wechatpay-timestamp", timestamp),
        header("Wechatpay-Nonce", "nonce".to_owned()),
        header("Wechatpay-Serial", serial.to_owned()),
        header("Wechatpay-Signature", signature),
    ]
}

fn signed(status: u16, body: &str) -> Response {
    Response { headers: signature(body, KEY_ID, 0), ..answer(status, body) }
}

fn receive(operation: &Operation, request: &Request, got: Response) -> Result<Step, Error> {
    Provider::receive(shop(), operation.clone(), request.clone(), got)
}

/// A payment as WeChat shows it.
fn transaction(number: &str, state: &str) -> String {
    format!(
        r#"{{"appid":"{APPID}","mchid":"{MCHID}","out_trade_no":"{number}","transaction_id":"T1","trade_state":"{state}","amount":{{"total":8888,"currency":"CNY","payer_total":1}}}}"#
    )
}
