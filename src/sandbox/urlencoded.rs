//! Queries and forms (`application/x-www-form-urlencoded`), and parts of paths.

/// The decoded pairs, in order.
pub(super) fn pairs(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| decode(&part.replace('+', " "));
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
        .collect()
}

/// Undoes percent-encoding; what is no encoding stays as it is.
pub(super) fn decode(text: &str) -> String {
    let (bytes, mut decoded, mut place) = (text.as_bytes(), Vec::with_capacity(text.len()), 0);
    while place < bytes.len() {
        let pair = bytes
            .get(place + 1..place + 3)
            .filter(|_| bytes[place] == b'%');
        let byte = pair.and_then(|pair| Some(hex(pair[0])? << 4 | hex(pair[1])?));
        decoded.push(byte.unwrap_or(bytes[place]));
        place += if byte.is_some() { 3 } else { 1 };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

/// What stands in a query for these pairs.
pub(super) fn encode(pairs: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in pairs {
        if !text.is_empty() {
            text.push('&');
        }
        encode_into(&mut text, name);
        text.push('=');
        encode_into(&mut text, value);
    }
    text
}

fn encode_into(text: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(byte as char);
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    (byte as char).to_digit(16).map(|digit| digit as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            pairs("a=1+2&b=%C3%BC%2&c&&=x"),
            [
                pair("a", "1 2"),
                pair("b", "ü%2"),
                pair("c", ""),
                pair("", "x")
            ]
        );
        assert_eq!(decode("a%2Fb%zz%"), "a/b%zz%");
        let written = encode(&[("a b", "ü&="), ("c", "-._~")]);
        assert_eq!(written, "a%20b=%C3%BC%26%3D&c=-._~");
        assert_eq!(pairs(&written), [pair("a b", "ü&="), pair("c", "-._~")]);
    }
}
