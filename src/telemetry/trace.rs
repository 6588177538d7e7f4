//! The W3C trace context of a request (`traceparent`, <https://www.w3.org/TR/trace-context/>), carried along to whatever node does the work,
//! so that its log lines can be put together.

use tracing::Instrument;

/// The longest header that is taken: version 00 has 55 characters, later ones may have more.
const LONGEST: usize = 128;

tokio::task_local! {
    static CONTEXT: Option<String>;
}

/// The context that a request came with in its header `traceparent`, if it is one.
pub fn of(given: Option<&str>) -> Option<String> {
    given.filter(|given| is_context(given)).map(str::to_owned)
}

/// `version-trace-parent-flags` in lower-case hexadecimal digits, neither id all zeros.
fn is_context(text: &str) -> bool {
    let mut parts = text.split('-');
    let mut part = |length: usize| {
        let part = parts.next()?;
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (part.len() == length && part.bytes().all(is_hex)).then_some(part)
    };
    let is_id = |part: Option<&str>| part.is_some_and(|part| part.bytes().any(|byte| byte != b'0'));
    text.len() <= LONGEST
        && part(2).is_some_and(|version| version != "ff")
        && is_id(part(32))
        && is_id(part(16))
        && part(2).is_some()
}

/// The context in which this task works.
pub fn current() -> Option<String> {
    CONTEXT.try_with(Clone::clone).ok().flatten()
}

/// Does the work in a context: what it logs names it, and so does what other nodes do for it.
pub async fn within<T>(context: Option<String>, work: impl Future<Output = T>) -> T {
    let Some(context) = context else {
        return work.await;
    };
    let span = tracing::info_span!("traced", traceparent = context);
    CONTEXT.scope(Some(context), work.instrument(span)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_is_no_context_is_left_out() {
        assert!(is_context(GOOD));
        for wrong in [
            "",
            "00",
            &GOOD.to_uppercase(),
            &GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            &GOOD.replacen("00", "ff", 1),
            &format!("{GOOD}{}", "-x".repeat(60)),
        ] {
            assert!(!is_context(wrong), "{wrong}");
        }
    }

    #[tokio::test]
    async fn work_knows_its_context() {
        assert_eq!(current(), None);
        let seen = within(Some(GOOD.to_owned()), async { current() }).await;
        assert_eq!(seen.as_deref(), Some(GOOD));
    }
}
