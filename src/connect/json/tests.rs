use super::*;
use crate::{
    connect::effect_key,
    domain::{ContentHash, ExecutionId},
};
use serde_json::json;
use uuid::Uuid;

fn of(text: &str) -> Value {
    read(text.as_bytes()).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The hashes and keys were computed by another program, from the canonical text. Rows of ledgers have such ones.
#[test]
fn effect_keys_and_argument_hashes_of_existing_rows_stay_what_they_are() {
    let run = ExecutionId::from_uuid(Uuid::from_u128(1));
    for (canonical, hash, key) in [
        (
            r##"{"channel":"#finance","text":"Good morning"}"##,
            "sha256:0093f0e5e3281af3802bca82159bbb4251cd4836b5bdd30ebf1e6574729f41a2",
            "tnr_8tss85mxzve78ny7qa25mngqhh13qw55",
        ),
        (
            r##"{"amount":4820.5,"count":3,"ids":[1,-2,9007199254740993],"note":"Ä😀"}"##,
            "sha256:aa8f1fd32f00b8e2193e2ebe8f7a7fbafb17f5d4c2ee8ac19ab3819ea1d0a24d",
            "tnr_4k9fs3w5hq1aeqd655v82w92rpgtwq0s",
        ),
        (
            r##"{"big":18446744073709551615,"small":-9223372036854775808}"##,
            "sha256:447cd481e0b235aa485d13a64a45d476149b304dea3ac064d38a80cd96bb6037",
            "tnr_7f30wtq2gpcm0f826mxmvfcre5mkpsgh",
        ),
        (
            r##"{"old":1.2345678901234568e+20,"tiny":1e-7,"zero":-0.0}"##,
            "sha256:d6907022cfc2c03dcfde3da6ed9c1862bb94243b15687794f7d418b09e724a32",
            "tnr_gbnfg9dht64gyvv710agm2d5jpqf142w",
        ),
        (
            r##"{"a":null,"b":[],"c":{},"d":true,"e":"\u0001\n\"\\/"}"##,
            "sha256:fad18ad120eb4244b40278b40dce56304705ef02559ec3b8566927a34455552e",
            "tnr_g8jcrefyex1w1nbw27qpw0v6gcpv6qzs",
        ),
        (
            r##"{"deep":[[[[[[["x"]]]]]]]}"##,
            "sha256:f622e623b571f395532851ba3b2e338098b4119de4512355993e4d2b347636d0",
            "tnr_svyz2k9sy2nt9g49s4xx67st13n4mfkt",
        ),
        (
            r##"[]"##,
            "sha256:4f53cda18c2baa0c0354bb5f9a3ecbe5ed12ab4d8e11ba873c2f11161202b945",
            "tnr_vh9mwmb3crqnbyaw3878ba311kk8mkx5",
        ),
        (
            r##""""##,
            "sha256:12ae32cb1ec02d01eda3581b127c1fee3b0dc53572ed6baf239721a03d82e126",
            "tnr_946qxvs64gh3skxqn4frmmrxbtewyxbv",
        ),
    ] {
        let value = of(canonical);
        assert_eq!(value.to_string(), canonical);
        let stored: Value = serde_json::from_str(canonical).expect("it is JSON");
        assert_eq!(value, stored);
        let args = ContentHash::of_json(&value);
        assert_eq!(args.to_string(), hash, "{canonical}");
        assert_eq!(effect_key(run, "0.1.2.1.7", args), key, "{canonical}");
    }
}

#[test]
fn what_the_standard_allows_is_read_as_before() {
    let mut seed = 7u64;
    let mut next = move |below: u64| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    for _ in 0..2_000 {
        let value = generated(&mut next, 0);
        let text = match next(2) {
            0 => value.to_string(),
            _ => serde_json::to_string_pretty(&value).expect("it is JSON"),
        };
        let strict: Value = serde_json::from_str(&text).expect("it is JSON");
        assert_eq!(of(&text), strict, "{text}");
        assert_eq!(
            parse::document(&text),
            Ok(strict),
            "the lenient parser alone: {text}"
        );
    }
}

fn generated(next: &mut impl FnMut(u64) -> u64, depth: u64) -> Value {
    let texts = [
        "",
        "a",
        "\"\\/",
        "\u{1}\u{7f}\n",
        "Ä😀",
        "\u{fffd}",
        "\\ud83d",
        "123456789012345678901",
        "]}[{",
    ];
    match next(if depth > 5 { 6 } else { 8 }) {
        0 => Value::Null,
        1 => json!(next(2) == 0),
        2 => json!(u64::MAX - next(3)),
        3 => json!(i64::MIN + next(3) as i64),
        4 => json!((next(1 << 31) as f64 - 1e9) * 10f64.powi(next(40) as i32 - 20)),
        5 => json!(texts[next(texts.len() as u64) as usize]),
        6 => (0..next(4)).map(|_| generated(next, depth + 1)).collect(),
        _ => {
            let fields = (0..next(4)).map(|_| {
                let name = texts[next(texts.len() as u64) as usize].to_owned();
                (name, generated(next, depth + 1))
            });
            Value::Object(fields.collect())
        }
    }
}

#[test]
fn integers_beyond_64_bits_stay_what_was_sent() {
    let two = of(r#"[{"id":123456789012345678901},{"id":123456789012345678902}]"#);
    assert_ne!(two[0], two[1]);
    assert_eq!(two[1]["id"], "123456789012345678902");
    for (sent, expected) in [
        ("18446744073709551615", json!(u64::MAX)),
        ("18446744073709551616", json!("18446744073709551616")),
        ("-9223372036854775808", json!(i64::MIN)),
        ("-9223372036854775809", json!("-9223372036854775809")),
        (
            "[100000000000000000000000000000000000001]",
            json!(["100000000000000000000000000000000000001"]),
        ),
        (
            r#"{"a":{"b":-340282366920938463463374607431768211457}}"#,
            json!({"a": {"b": "-340282366920938463463374607431768211457"}}),
        ),
        (
            r#"{"n":0.1234567890123456789012}"#,
            json!({"n": 0.123_456_789_012_345_68}),
        ),
        ("1e999", json!("1e999")),
        ("[-1E400]", json!(["-1E400"])),
        ("[007,+1,.5]", json!(["007", "+1", ".5"])),
        (
            "[1e21,12345678901234567890]",
            json!([1e21, 12_345_678_901_234_567_890u64]),
        ),
    ] {
        assert_eq!(of(sent), expected, "{sent}");
    }
}

#[test]
fn halves_of_surrogate_pairs_become_replacement_characters() {
    for (sent, expected) in [
        (r#""cut \ud83d""#, "cut \u{fffd}"),
        (r#""\ude00 tail""#, "\u{fffd} tail"),
        (r#""\ud83d\ude00""#, "😀"),
        (r#""\uD83D\uDE00!""#, "😀!"),
        (r#""\ud83d\ud83d\ude00""#, "\u{fffd}😀"),
        (r#""\ude00\ud83d""#, "\u{fffd}\u{fffd}"),
        (r#""\ud83d\u0041""#, "\u{fffd}A"),
        (r#""\ud83d\n""#, "\u{fffd}\n"),
        (r#""\ud83dx""#, "\u{fffd}x"),
        (r#""\ud83d\u""#, "\u{fffd}\\u"),
    ] {
        assert_eq!(of(sent), json!(expected), "{sent}");
    }
    // In a name, too.
    assert_eq!(of(r#"{"\ud800":1}"#), json!({"\u{fffd}": 1}));
}

#[test]
fn bytes_are_read_in_the_encoding_that_they_are_in() {
    let text = r#"{"name":"Zoë 😀","n":[1]}"#;
    let expected = json!({"name": "Zoë 😀", "n": [1]});
    let utf_16 =
        |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    let utf_32 = |bytes: fn(u32) -> [u8; 4]| {
        text.chars()
            .flat_map(|c| bytes(c as u32))
            .collect::<Vec<u8>>()
    };
    let marked = |mark: &[u8], body: Vec<u8>| [mark, &body].concat();
    let bodies = [
        text.as_bytes().to_vec(),
        marked(&[0xef, 0xbb, 0xbf], text.as_bytes().to_vec()),
        utf_16(u16::to_le_bytes),
        utf_16(u16::to_be_bytes),
        marked(&[0xff, 0xfe], utf_16(u16::to_le_bytes)),
        marked(&[0xfe, 0xff], utf_16(u16::to_be_bytes)),
        utf_32(u32::to_le_bytes),
        utf_32(u32::to_be_bytes),
        marked(&[0xff, 0xfe, 0, 0], utf_32(u32::to_le_bytes)),
        marked(&[0, 0, 0xfe, 0xff], utf_32(u32::to_be_bytes)),
    ];
    for (place, body) in bodies.iter().enumerate() {
        assert_eq!(read(body), Ok(expected.clone()), "encoding {place}");
        let told = read_as(body, Some("application/json; charset=utf-8"));
        assert_eq!(
            told,
            Ok(expected.clone()),
            "encoding {place}, told otherwise"
        );
    }
    for (charset, body) in [
        ("iso-8859-1", &b"{\"name\":\"Zo\xeb\"}"[..]),
        ("\"Windows-1252\"", b"{\"name\":\"Zo\xeb\"}"),
        ("macintosh", b"{\"name\":\"Zo\x91\"}"),
        ("ibm866; x=y", "{\"name\":\"Zoë\"}".as_bytes()),
        ("utf8mb4", "{\"name\":\"Zoë\"}".as_bytes()),
    ] {
        let content_type = format!("application/json; Charset = {charset}");
        let found = read_as(body, Some(&content_type)).expect("it is JSON");
        let expected = if charset.starts_with("ibm866") {
            "Zo├л"
        } else {
            "Zoë"
        };
        assert_eq!(found["name"], expected, "{charset}");
    }
    assert_eq!(
        read(b"{\"name\":\"Zo\xeb\"}"),
        Ok(json!({"name": "Zo\u{fffd}"}))
    );
}

#[test]
fn what_is_nested_too_deeply_is_given_as_text() {
    let nested = |depth: usize| {
        format!(
            r#"{{"id":7,"x":{}"]"{}}}"#,
            "[".repeat(depth),
            "]".repeat(depth)
        )
    };
    for depth in [1, 50, DEEPEST - 1] {
        let text = nested(depth);
        assert_eq!(
            of(&text),
            serde_json::from_str::<Value>(&text).expect("it is JSON")
        );
    }
    for depth in [DEEPEST, 127, 128, 10_000, 500_000] {
        let value = of(&nested(depth));
        assert_eq!(value["id"], 7);
        let mut inner = &value["x"];
        while let Value::Array(items) = inner {
            inner = &items[0];
        }
        let text = inner.as_str().expect("a text");
        assert_eq!(text.len(), 3 + 2 * (depth + 1 - DEEPEST));
        // It can be stored within other documents and read again.
        let stored = json!([{"fact": {"output": [value]}}]).to_string();
        serde_json::from_str::<Value>(&stored).expect("it can be read again");
    }
    assert!(read("[".repeat(1_000_000).as_bytes()).is_err());
}

#[test]
fn other_habits_of_senders_are_understood() {
    for (sent, expected) in [
        ("\u{feff}[1]", json!([1])),
        ("[1]\n\0\0", json!([1])),
        ("[NaN,Infinity,-Infinity]", json!([null, null, null])),
        ("\"a\tb\nc\"", json!("a\tb\nc")),
        (r#""it\'s \x41 \u12""#, json!(r"it\'s \x41 \u12")),
        (r#"{"a":1,"a":2}"#, json!({"a": 2})),
        (
            r#"{"a":1,"a":NaN,"b":"\u0000"}"#,
            json!({"a": null, "b": "\0"}),
        ),
        (" \r\n 7 ", json!(7)),
    ] {
        assert_eq!(of(sent), expected, "{sent:?}");
    }
}

#[test]
fn what_is_not_json_says_where() {
    for (sent, expected) in [
        ("", "the text ends where a value should be at character 1"),
        ("<html>", "expected a value at character 1"),
        ("{\"a\":1", "expected `,` or `}` at character 7"),
        ("[1 2]", "expected `,` or `]` at character 4"),
        ("[\"é\",]", "expected a value at character 6"),
        ("{a:1}", "expected a name in quotes at character 2"),
        ("{\"a\" 1}", "expected `:` at character 6"),
        ("\"abc", "the text ends within a string at character 5"),
        ("[1] x", "something stands behind the value at character 4"),
        ("nope", "expected a value at character 1"),
        ("-", "expected a value at character 1"),
        ("a=1&b=2", "expected a value at character 1"),
    ] {
        let error = read(sent.as_bytes()).expect_err(sent);
        assert_eq!(error.to_string(), expected, "{sent:?}");
    }
}
