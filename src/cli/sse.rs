//! Server-sent events out of bytes.

/// One event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// The stream goes on after it with `Last-Event-ID`.
    pub id: Option<String>,
    /// Empty where the stream names none.
    pub name: String,
    pub data: String,
}

/// Takes bytes as they come, in whatever pieces.
#[derive(Default)]
pub struct Decoder {
    rest: Vec<u8>,
    event: Event,
    has_data: bool,
}

impl Decoder {
    /// The events that these bytes complete.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            events.extend(self.line(line.trim_end_matches(['\n', '\r'])));
        }
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let event = std::mem::take(&mut self.event);
            return std::mem::take(&mut self.has_data).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.event.id = Some(value.into()),
            "event" => self.event.name = value.into(),
            "data" => {
                if self.has_data {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
                self.has_data = true;
            }
            // Comments keep the connection open; `retry` is a wish that we do not follow.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_whatever_the_pieces() {
        let text = ": hello\n\nid: 7\nevent: agentEvent\ndata: {\"a\":\ndata: 1}\n\nid: 8\r\ndata: é\r\n\r\n";
        for size in [1, 2, 3, 7, text.len()] {
            let mut decoder = Decoder::default();
            let events: Vec<Event> = text
                .as_bytes()
                .chunks(size)
                .flat_map(|chunk| decoder.push(chunk))
                .collect();
            assert_eq!(events.len(), 2, "in pieces of {size}");
            assert_eq!(events[0].name, "agentEvent");
            assert_eq!(events[0].data, "{\"a\":\n1}");
            assert_eq!(events[1].id.as_deref(), Some("8"));
            assert_eq!(events[1].data, "é");
        }
    }
}
