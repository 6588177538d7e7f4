use super::*;
use proptest::prelude::*;

/// The example of the scheme's own libraries.
const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
const BODY: &[u8] = br#"{"test": 2432232314}"#;
const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const STAMP: &str = "1614265330";

fn now() -> Timestamp {
    Timestamp::from_millis(1_614_265_330_000)
}
fn secret(text: &str) -> SecretString {
    text.into()
}
fn headers<'a>(id: &'a str, timestamp: &'a str, signature: &'a str) -> WebhookHeaders<'a> {
    WebhookHeaders {
        id: Some(id),
        timestamp: Some(timestamp),
        signature: Some(signature),
    }
}

#[test]
fn the_known_vector_is_accepted_and_made() {
    let verified = verify(
        BODY,
        headers(ID, STAMP, SIGNATURE),
        now(),
        &[secret(SECRET)],
    )
    .unwrap();
    assert_eq!(
        verified,
        Verified {
            id: ID.into(),
            timestamp: now()
        }
    );
    assert_eq!(sign(&secret(SECRET), ID, now(), BODY).unwrap(), SIGNATURE);
}

#[test]
fn rotation_and_odd_entries() {
    let old = generate_secret([7; 32]);
    let secrets = [secret("whsec_not base64"), old.clone(), secret(SECRET)];
    let from_old = sign(&old, ID, now(), BODY).unwrap();
    for (signature, accepted) in [
        (format!("v1,AAAA v2,zzz {SIGNATURE}"), true),
        (format!("v1a,xyz  v1,%%% v1 , {from_old}"), true),
        (format!("v2{}", &SIGNATURE[2..]), false),
        (SIGNATURE[3..].to_owned(), false),
        (String::new(), false),
        (
            format!("{}{SIGNATURE}", "v1,AAAA ".repeat(ENTRY_LIMIT)),
            false,
        ),
    ] {
        let found = verify(BODY, headers(ID, STAMP, &signature), now(), &secrets);
        assert_eq!(found.is_ok(), accepted, "{signature}");
    }
    assert_eq!(
        verify(BODY, headers(ID, STAMP, SIGNATURE), now(), &[]),
        Err(WebhookError::BadSignature)
    );
}

#[test]
fn the_clock_may_be_off_by_five_minutes_either_way() {
    for (offset, expected) in [
        (300_000, None),
        (300_001, Some(WebhookError::TooOld)),
        (-300_000, None),
        (-300_001, Some(WebhookError::TooNew)),
    ] {
        let now = Timestamp::from_millis(1_614_265_330_000 + offset);
        assert_eq!(
            verify(BODY, headers(ID, STAMP, SIGNATURE), now, &[secret(SECRET)]).err(),
            expected
        );
    }
}

#[test]
fn each_header_is_wanted_and_has_its_form() {
    let all = headers(ID, STAMP, SIGNATURE);
    let cases = [
        (
            WebhookHeaders { id: None, ..all },
            WebhookError::MissingHeader(ID_HEADER),
        ),
        (
            WebhookHeaders {
                timestamp: None,
                ..all
            },
            WebhookError::MissingHeader(TIMESTAMP_HEADER),
        ),
        (
            WebhookHeaders {
                signature: None,
                ..all
            },
            WebhookError::MissingHeader(SIGNATURE_HEADER),
        ),
        (
            WebhookHeaders {
                id: Some(""),
                ..all
            },
            WebhookError::BadId,
        ),
        (
            WebhookHeaders {
                id: Some("a.1"),
                ..all
            },
            WebhookError::BadId,
        ),
        (
            WebhookHeaders {
                timestamp: Some("+1614265330"),
                ..all
            },
            WebhookError::BadTimestamp,
        ),
        (
            WebhookHeaders {
                timestamp: Some("1614265330.5"),
                ..all
            },
            WebhookError::BadTimestamp,
        ),
        (
            WebhookHeaders {
                timestamp: Some("99999999999999999999"),
                ..all
            },
            WebhookError::BadTimestamp,
        ),
    ];
    for (given, expected) in cases {
        assert_eq!(verify(BODY, given, now(), &[secret(SECRET)]), Err(expected));
    }
}

#[test]
fn secrets_have_a_form() {
    for bad in ["", "whsec_", "whsec_AAAA", "whsec_!!!"] {
        assert_eq!(
            check_secret(&secret(bad)),
            Err(WebhookError::BadSecret),
            "{bad}"
        );
    }
    check_secret(&generate_secret([1; 32])).unwrap();
}

#[derive(Clone, Debug)]
enum Mutation {
    Body(usize, u8),
    Id(usize, u8),
    Stamp(i64),
    Signature(usize, u8),
    Secret(u8),
    None,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(place, mask)| Mutation::Body(place, mask)),
        (any::<usize>(), any::<u8>()).prop_map(|(place, mask)| Mutation::Id(place, mask & 0x7f)),
        (-400i64..400).prop_map(Mutation::Stamp),
        (any::<usize>(), any::<u8>())
            .prop_map(|(place, mask)| Mutation::Signature(place, mask & 0x7f)),
        any::<u8>().prop_map(Mutation::Secret),
        Just(Mutation::None),
    ]
}

fn flip(bytes: &mut [u8], place: usize, mask: u8) {
    if !bytes.is_empty() {
        let place = place % bytes.len();
        bytes[place] ^= mask;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    /// A request passes exactly if nothing in it was changed.
    #[test]
    fn a_changed_request_never_passes(body in proptest::collection::vec(any::<u8>(), 0..64), mutation in mutation()) {
        let key = generate_secret([9; 32]);
        let signature = sign(&key, ID, now(), &body).unwrap();
        let (mut sent, mut id, mut signed, mut used) = (body.clone(), ID.as_bytes().to_vec(), signature.clone().into_bytes(), [9; 32]);
        let mut stamp = now().micros() / 1_000_000;
        match mutation {
            Mutation::Body(place, mask) => flip(&mut sent, place, mask),
            Mutation::Id(place, mask) => flip(&mut id, place, mask),
            Mutation::Stamp(offset) => stamp += offset,
            Mutation::Signature(place, mask) => flip(&mut signed, place, mask),
            Mutation::Secret(mask) => used[0] ^= mask,
            Mutation::None => {}
        }
        let (id, signed, stamp) = (String::from_utf8(id).unwrap(), String::from_utf8(signed).unwrap(), stamp.to_string());
        let same = sent == body && id == ID && signed == signature && stamp == STAMP && used == [9; 32];
        let found = verify(&sent, headers(&id, &stamp, &signed), now(), &[generate_secret(used)]);
        prop_assert_eq!(found.is_ok(), same, "{:?}", found);
    }
}
