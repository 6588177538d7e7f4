use super::*;
use flate2::{
    Compression,
    write::{DeflateEncoder, GzEncoder, ZlibEncoder},
};
use reqwest::header::HeaderValue;
use serde_json::json;
use std::io::Write;

const MOST: usize = 1024 * 1024;

fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in pairs {
        map.append(*name, HeaderValue::from_str(value).expect("a value"));
    }
    map
}
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).expect("packed");
    packed.finish().expect("packed")
}
fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).expect("packed");
    packed.finish().expect("packed")
}
fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::best());
    packed.write_all(bytes).expect("packed");
    packed.finish().expect("packed")
}

#[test]
fn packed_bodies_are_unpacked_up_to_a_bound() {
    let body = br#"{"n":1}"#.as_slice();
    for (coding, packed) in [
        ("gzip", gzip(body)),
        ("x-gzip", gzip(body)),
        ("GZIP", gzip(body)),
        ("deflate", zlib(body)),
        ("deflate", deflate(body)),
        ("identity", body.to_vec()),
        ("identity, gzip", gzip(body)),
        ("deflate, gzip", gzip(&zlib(body))),
        // Two members, one after the other.
        ("gzip", [gzip(&body[..3]), gzip(&body[3..])].concat()),
        ("", body.to_vec()),
    ] {
        let found = unpacked(&headers(&[("content-encoding", coding)]), &packed, MOST);
        assert_eq!(found.as_deref(), Ok(body), "{coding}");
    }
    let found = unpacked(&HeaderMap::new(), body, MOST);
    assert!(matches!(found, Ok(Cow::Borrowed(_))), "nothing is copied");
    let bomb = gzip(&vec![b' '; 64 * MOST]);
    assert!(bomb.len() < MOST / 8, "it is small on the way");
    for (coding, packed, expected) in [
        ("gzip", bomb.clone(), Unreadable::TooLarge { most: MOST }),
        (
            "gzip, gzip",
            gzip(&bomb),
            Unreadable::TooLarge { most: MOST },
        ),
        (
            "deflate",
            zlib(&vec![0; 8 * MOST]),
            Unreadable::TooLarge { most: MOST },
        ),
        (
            "deflate",
            deflate(&vec![0; 8 * MOST]),
            Unreadable::TooLarge { most: MOST },
        ),
        ("gzip", body.to_vec(), Unreadable::Packed("gzip".into())),
        (
            "gzip",
            gzip(body)[..12].to_vec(),
            Unreadable::Packed("gzip".into()),
        ),
        ("br", body.to_vec(), Unreadable::Encoding("br".into())),
        ("zstd", body.to_vec(), Unreadable::Encoding("zstd".into())),
        (
            "gzip, gzip, gzip",
            body.to_vec(),
            Unreadable::Encoding("gzip, gzip, gzip".into()),
        ),
    ] {
        let found = unpacked(&headers(&[("content-encoding", coding)]), &packed, MOST);
        assert_eq!(found.map(Cow::into_owned), Err(expected), "{coding}");
    }
}

#[test]
fn json_is_read_in_the_charset_of_its_sender() {
    let utf_16 = |text: &str, little: bool| -> Vec<u8> {
        let units = text.encode_utf16();
        units
            .flat_map(|unit| match little {
                true => unit.to_le_bytes(),
                false => unit.to_be_bytes(),
            })
            .collect()
    };
    let text = "{\"who\":\"Zoë\"}";
    for (kind, body) in [
        ("application/json", text.as_bytes().to_vec()),
        (
            "application/json",
            [b"\xef\xbb\xbf", text.as_bytes()].concat(),
        ),
        (
            "application/json; charset=iso-8859-1",
            b"{\"who\":\"Zo\xeb\"}".to_vec(),
        ),
        (
            "application/json;charset=\"windows-1252\"",
            b"{\"who\":\"Zo\xeb\"}".to_vec(),
        ),
        ("application/json; charset=", text.as_bytes().to_vec()),
        ("application/json; charset=\"\"", text.as_bytes().to_vec()),
        (
            "application/json; charset=\"utf-8",
            text.as_bytes().to_vec(),
        ),
        ("application/json;charset=UTF8;", text.as_bytes().to_vec()),
        (
            "application/json; x=y; charset=latin1",
            b"{\"who\":\"Zo\xeb\"}".to_vec(),
        ),
        ("application/json; charset=utf-16le", utf_16(text, true)),
        ("application/json; Charset=UTF-16BE", utf_16(text, false)),
        ("application/json", utf_16(text, true)),
        (
            "application/json",
            [vec![0xfe, 0xff], utf_16(text, false)].concat(),
        ),
        (
            "text/plain; charset=macintosh",
            b"{\"who\":\"Zo\x91\"}".to_vec(),
        ),
    ] {
        let found = json(&headers(&[("content-type", kind)]), &body);
        assert_eq!(found, Ok(json!({"who": "Zoë"})), "{kind}");
    }
    let japanese = b"{\"who\":\"\x93\xfa\x96{\"}";
    let found = json(
        &headers(&[("content-type", "application/json; charset=Shift_JIS")]),
        japanese,
    );
    assert_eq!(found, Ok(json!({"who": "日本"})));
    let unknown = headers(&[("content-type", "application/json; charset=klingon")]);
    assert_eq!(
        json(&unknown, b"{}"),
        Err(Unreadable::Charset("klingon".into()))
    );
}

/// What the outside writes and our own reader would not: it is read, and what differs stays different.
#[test]
fn json_of_the_world_is_read() {
    let plain = HeaderMap::new();
    let ids = json(
        &plain,
        br#"[123456789012345678901, 123456789012345678902, 18446744073709551615, 7]"#,
    );
    let ids = ids.expect("reads");
    assert_ne!(ids[0], ids[1], "two ids of 21 digits stay two");
    assert_eq!(
        (ids[2].as_u64(), ids[3].as_u64()),
        (Some(u64::MAX), Some(7))
    );
    for (body, what) in [
        (br#"{"t":"\ud83d"}"#.as_slice(), "a lone surrogate"),
        (br#"{"t":"\ude00\ud83d"}"#, "a pair the wrong way round"),
        (b"\xef\xbb\xbf{\"t\":\"x\"}", "a byte order mark"),
        (
            br#"{"t":"x","n":-123456789012345678901234}"#,
            "a large negative number",
        ),
        (br#"{"t":"x","n":1e400}"#, "a number beyond a double"),
        (b"{\"t\":\"\xff\"}", "bytes that are no UTF-8"),
    ] {
        let found = json(&plain, body);
        let found = found.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(found["t"].is_string(), "{what}: {found}");
    }
    assert!(matches!(json(&plain, b"{"), Err(Unreadable::NotJson(_))));
}

#[test]
fn forms_are_read_in_their_charset() {
    for (kind, body, expected) in [
        (
            "",
            b"a=Zo%C3%AB&a=2&b=+".as_slice(),
            json!({"a": ["Zoë", "2"], "b": " "}),
        ),
        ("; charset=utf-8", b"a=Zo%C3%AB", json!({"a": "Zoë"})),
        ("; charset=iso-8859-1", b"a=Zo%EB", json!({"a": "Zoë"})),
        ("; charset=iso-8859-1", b"a=Zo\xeb", json!({"a": "Zoë"})),
        (
            "; charset=shift_jis",
            b"a=%93%FA%96%7B",
            json!({"a": "日本"}),
        ),
        ("; charset=utf-16le", b"a\0=\0\xeb\0", json!({"a": "ë"})),
        ("", b"\xef\xbb\xbfa=1", json!({"a": "1"})),
    ] {
        let kind = format!("application/x-www-form-urlencoded{kind}");
        let found = form(&headers(&[("content-type", &kind)]), body).map(fields);
        assert_eq!(found, Ok(expected), "{kind}");
    }
}

#[test]
fn media_types_are_told_apart() {
    let other = |kind: &str| Media::Other(kind.into());
    for (kind, expected) in [
        ("application/json", Media::Json),
        ("Application/JSON; charset=utf-8", Media::Json),
        ("application/vnd.github+json", Media::Json),
        ("application/cloudevents+json; charset=UTF-8", Media::Json),
        ("application/scim+json", Media::Json),
        ("text/json", Media::Json),
        (
            "application/x-www-form-urlencoded; charset=utf-8",
            Media::Form,
        ),
        ("text/plain", other("text/plain")),
        (
            "multipart/form-data; boundary=x",
            other("multipart/form-data"),
        ),
        ("", other("")),
    ] {
        assert_eq!(
            media(&headers(&[("content-type", kind)])),
            expected,
            "{kind}"
        );
    }
    assert_eq!(media(&HeaderMap::new()), other(""));
}
