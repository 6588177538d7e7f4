//! Queries and forms (`application/x-www-form-urlencoded`).

/// The decoded pairs, in order. Bytes that are no UTF-8 become replacement characters.
pub fn pairs(text: &str) -> impl Iterator<Item = (String, String)> {
    text.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .map(|(name, value)| (decode(name), decode(value)))
}

/// The pairs of a form whose bytes `text` turns into letters, in order.
pub fn pairs_of(body: &[u8], text: impl Fn(&[u8]) -> String) -> Vec<(String, String)> {
    body.split(|byte| *byte == b'&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let end = pair.iter().position(|byte| *byte == b'=');
            let (name, value) = pair.split_at(end.unwrap_or(pair.len()));
            let value = value.get(1..).unwrap_or_default();
            (text(&unescaped(name)), text(&unescaped(value)))
        })
        .collect()
}

fn decode(part: &str) -> String {
    String::from_utf8_lossy(&unescaped(part.as_bytes())).into_owned()
}

/// Undoes the escapes of one part; what is no escape stays as it is.
fn unescaped(part: &[u8]) -> Vec<u8> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let mut decoded = Vec::with_capacity(part.len());
    let mut rest = part;
    while let Some((first, tail)) = rest.split_first() {
        let pair = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|pair| Some(digit(&pair[0])? << 4 | digit(&pair[1])?));
        match pair {
            Some(byte) => {
                decoded.push(byte as u8);
                rest = &tail[2..];
            }
            None => {
                decoded.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
    }
    decoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_decoded() {
        let found: Vec<_> = pairs("a=1+2&b=%C3%BC%2&c&&=x&d=%2B").collect();
        let expected = [("a", "1 2"), ("b", "ü%2"), ("c", ""), ("", "x"), ("d", "+")];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(found, expected);
    }
}
