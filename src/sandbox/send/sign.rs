//! Signatures over the raw bytes of a body.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Slack, v0: over version, time and body.
pub(in crate::sandbox) fn slack(secret: &str, seconds: i64, body: &str) -> String {
    format!("v0={}", hex(secret, &format!("v0:{seconds}:{body}")))
}

/// GitHub's `X-Hub-Signature-256`.
pub(super) fn github(secret: &str, body: &str) -> String {
    format!("sha256={}", hex(secret, body))
}

/// Stripe's header; one `v1` for each secret, as while a secret is being replaced.
pub(super) fn stripe(secrets: &[String], seconds: i64, body: &str) -> String {
    let mut header = format!("t={seconds}");
    for secret in secrets {
        header.push_str(&format!(
            ",v1={}",
            hex(secret, &format!("{seconds}.{body}"))
        ));
    }
    header
}

fn hex(secret: &str, text: &str) -> String {
    // HMAC takes keys of any length; the other arm cannot be reached.
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(secret.as_bytes())
        .unwrap_or_else(|_| Hmac::new(&Default::default()));
    mac.update(text.as_bytes());
    let bytes = mac.finalize().into_bytes();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the providers' documentation.
    #[test]
    fn documented_signatures() {
        let body = "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V\
                    &channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=\
                    &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN\
                    &trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        assert_eq!(
            slack("8f742231b10e8888abcd99yyyzzz85a5", 1_531_420_618, body),
            "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
        );
        assert_eq!(
            github("It's a Secret to Everybody", "Hello, World!"),
            "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
        );
        let secrets = ["a".to_owned(), "b".to_owned()];
        let header = stripe(&secrets, 7, "{}");
        assert!(header.starts_with("t=7,v1="));
        assert_eq!(header.matches(",v1=").count(), 2);
    }
}
