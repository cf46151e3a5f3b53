//! Signatures, as Standard Webhooks has them, so that the libraries for it verify ours: HMAC-SHA256 over the id, the
//! time and the body, with a secret that is written `whsec_` and base64.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use motehub_domain::time::Time;
use motehub_domain::webhook::Webhook;
use ring::hmac;

use crate::app::App;

/// A webhook's newest secret, as its owner is shown it once.
pub(crate) fn secret(app: &App, webhook: &Webhook) -> String {
    let key = app.access_keys.webhook_secret_of(webhook.id, webhook.secret);
    format!("whsec_{}", BASE64_STANDARD.encode(key))
}

/// The headers of a post: who it is, when, and signed by each secret that counts.
pub(crate) fn headers(
    app: &App,
    webhook: &Webhook,
    id: &str,
    body: &str,
    now: Time,
) -> Vec<(&'static str, String)> {
    let seconds = now.0.div_euclid(1000);
    let keys =
        webhook.secrets(now).into_iter().map(|number| app.access_keys.webhook_secret_of(webhook.id, number));
    let signatures: Vec<String> = keys.map(|key| signature(&key, id, seconds, body)).collect();
    vec![
        ("webhook-id", id.to_owned()),
        ("webhook-timestamp", seconds.to_string()),
        ("webhook-signature", signatures.join(" ")),
    ]
}

fn signature(key: &[u8], id: &str, seconds: i64, body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    let tag = hmac::sign(&key, format!("{id}.{seconds}.{body}").as_bytes());
    format!("v1,{}", BASE64_STANDARD.encode(tag))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signatures_are_those_of_the_specification() {
        // The example of the libraries of Standard Webhooks.
        let key = BASE64_STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let signed =
            signature(&key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, r#"{"test": 2432232314}"#);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
