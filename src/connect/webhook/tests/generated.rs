//! Thousands of requests of each scheme, most of them changed somewhere: accepted exactly when they are good.

use super::samples::{Request, Sample, samples};
use rand::{Rng, SeedableRng, rngs::StdRng, seq::IndexedRandom};

const CASES: usize = 4_000;
const NOW: i64 = 1_700_000_000;

#[test]
fn a_request_is_accepted_exactly_when_it_is_good() {
    let seed = rand::random();
    for sample in samples() {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut good, mut bad) = (0, 0);
        for case in 0..CASES {
            let request = request(&sample, &mut random);
            // Two secrets are known, in either order.
            let mut known = sample.secrets[..2].to_vec();
            known.rotate_left(random.random_range(0..2));
            let expected = sample.is_good(&request, NOW, &known);
            let found = sample.check(&request, NOW, &known);
            assert_eq!(
                found.is_ok(),
                expected,
                "{} case {case} of seed {seed}: {found:?} for {request:?}",
                sample.name
            );
            match expected {
                true => good += 1,
                false => bad += 1,
            }
        }
        // A generator that makes only one kind proves nothing.
        assert!(good > CASES / 20, "{}: {good} good of {CASES}", sample.name);
        assert!(bad > CASES / 4, "{}: {bad} bad of {CASES}", sample.name);
    }
}

fn request(sample: &Sample, random: &mut StdRng) -> Request {
    let which = *[0, 0, 0, 1, 1, 2].choose(random).expect("one");
    let offset = *[0, 0, 0, 1, -299, -300, -301, 299, 300, 301, 100_000]
        .choose(random)
        .expect("one");
    let body: Vec<u8> = (0..random.random_range(0..80))
        .map(|_| random.random())
        .collect();
    let mut request = sample.request(which, &body, NOW + offset);
    for _ in 0..*[0, 0, 1, 1, 1, 2].choose(random).expect("one") {
        change(sample, &mut request, random);
    }
    request
}

fn change(sample: &Sample, request: &mut Request, random: &mut StdRng) {
    let part = random.random_range(0..request.headers.len().max(1));
    match random.random_range(0..12) {
        0..3 => change_bytes(&mut request.body, random),
        3..7 => {
            if let Some((_, value)) = request.headers.get_mut(part) {
                change_bytes(value, random);
            }
        }
        7 => drop((!request.headers.is_empty()).then(|| request.headers.remove(part))),
        8 => {
            if let Some(again) = request.headers.get(part).cloned() {
                request.headers.push(again);
            }
        }
        // A part of another request that is good as such.
        9 => {
            let other = sample.request(random.random_range(0..3), b"other", NOW + 1);
            if let Some(slot) = request.headers.get_mut(part) {
                let name = slot.0;
                slot.clone_from(
                    other
                        .headers
                        .iter()
                        .find(|(known, _)| *known == name)
                        .expect("same scheme"),
                );
            }
        }
        // Letters in the other case, and blanks around.
        10 => {
            if let Some((_, value)) = request.headers.get_mut(part) {
                value.make_ascii_uppercase();
            }
        }
        _ => {
            if let Some((_, value)) = request.headers.get_mut(part) {
                value.insert(0, *b" ,;=".choose(random).expect("one"));
            }
        }
    }
}

fn change_bytes(bytes: &mut Vec<u8>, random: &mut StdRng) {
    let place = random.random_range(0..=bytes.len());
    match random.random_range(0..4) {
        0 if place < bytes.len() => bytes[place] ^= 1 << random.random_range(0..8),
        1 if place < bytes.len() => drop(bytes.remove(place)),
        2 => bytes.truncate(place),
        _ => bytes.insert(place, random.random()),
    }
}
