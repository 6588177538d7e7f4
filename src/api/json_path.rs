//! Where in a JSON text an offset lies, as a path such as `schedules[0].cron`: serde_json says a line and a column, people want a field.

/// One level of the text: the key that is being read in an object, or the index in an array.
enum Level {
    Object(Option<String>),
    Array(usize),
}

/// The path of the value that ends at or contains `offset`; empty at the top. The text before `offset` must be JSON.
pub fn path_at(text: &[u8], offset: usize) -> String {
    let text = &text[..offset.min(text.len())];
    let mut levels: Vec<Level> = Vec::new();
    let mut place = 0;
    // A string is a key if it stands where an object wants one.
    let mut key_next = false;
    while place < text.len() {
        match text[place] {
            b'{' => {
                levels.push(Level::Object(None));
                key_next = true;
            }
            b'[' => {
                levels.push(Level::Array(0));
                key_next = false;
            }
            b'}' | b']' => {
                levels.pop();
                key_next = false;
            }
            b',' => match levels.last_mut() {
                Some(Level::Object(key)) => {
                    *key = None;
                    key_next = true;
                }
                Some(Level::Array(index)) => *index += 1,
                None => {}
            },
            b'"' => {
                let end = string_end(text, place);
                if key_next && let Some(Level::Object(key)) = levels.last_mut() {
                    *key = serde_json::from_slice(&text[place..end]).ok();
                    key_next = false;
                }
                place = end;
                continue;
            }
            _ => {}
        }
        place += 1;
    }
    print(&levels)
}

/// The place after the closing quote of the string that begins at `start`.
fn string_end(text: &[u8], start: usize) -> usize {
    let mut place = start + 1;
    while place < text.len() {
        match text[place] {
            b'\\' => place += 2,
            b'"' => return place + 1,
            _ => place += 1,
        }
    }
    text.len()
}

fn print(levels: &[Level]) -> String {
    let mut path = String::new();
    for level in levels {
        match level {
            Level::Object(Some(key)) => {
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
            }
            Level::Object(None) => {}
            Level::Array(index) => path.push_str(&format!("[{index}]")),
        }
    }
    path
}

/// The offset of a line and a column, both from 1, as serde_json counts them (a column is a byte).
pub fn offset_of(text: &[u8], line: usize, column: usize) -> usize {
    let start = match line {
        0 | 1 => 0,
        line => text
            .iter()
            .enumerate()
            .filter(|(_, byte)| **byte == b'\n')
            .nth(line - 2)
            .map_or(text.len(), |(place, _)| place + 1),
    };
    (start + column).min(text.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_become_paths() {
        let text = br#"{"a":{"b\"c":[1,{"d":"x"}]},"e":5}"#;
        let at = |wanted: &str| {
            let place = text
                .windows(wanted.len())
                .position(|part| part == wanted.as_bytes())
                .expect("is in the text");
            path_at(text, place + wanted.len())
        };
        assert_eq!(at("[1"), "a.b\"c[0]");
        assert_eq!(at("\"x\""), "a.b\"c[1].d");
        assert_eq!(at("\"e\":5"), "e");
        assert_eq!(path_at(text, 0), "");
    }

    #[test]
    fn lines_and_columns_become_offsets() {
        assert_eq!(offset_of(b"ab\ncd\nef", 3, 1), 7);
        assert_eq!(offset_of(b"ab", 1, 9), 2);
    }
}
