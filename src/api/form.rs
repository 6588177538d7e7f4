//! Queries and forms as browsers write them.

use std::collections::BTreeMap;

/// The parameters of a query or a form; of several with one name the first counts.
pub fn pairs(text: &str) -> BTreeMap<String, String> {
    let decode = |part: &str| {
        let plain = part.replace('+', " ");
        percent_decode(&plain)
    };
    let mut found = BTreeMap::new();
    for pair in text.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        found.entry(decode(name)).or_insert_with(|| decode(value));
    }
    found
}

fn percent_decode(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut place = 0;
    while place < bytes.len() {
        let digits = bytes.get(place + 1..place + 3);
        let hex = digits
            .filter(|_| bytes[place] == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match hex {
            Some(byte) => {
                decoded.push(byte);
                place += 3;
            }
            None => {
                decoded.push(bytes[place]);
                place += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_browsers_write_them() {
        let read = pairs("code=a%2Fb+c&state=s%20t&empty=&code=second&bare&bad=%zz%");
        let expected = [
            ("bad", "%zz%"),
            ("bare", ""),
            ("code", "a/b c"),
            ("empty", ""),
            ("state", "s t"),
        ];
        let found: Vec<_> = read
            .iter()
            .map(|(name, value)| (&**name, &**value))
            .collect();
        assert_eq!(found, expected);
    }
}
