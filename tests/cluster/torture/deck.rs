//! Troubles, each of which comes before one comes again.

use rand::{Rng, rngs::StdRng};
use std::{collections::BTreeMap, fmt::Debug};

pub struct Deck<T> {
    all: Vec<T>,
    left: Vec<T>,
    met: BTreeMap<T, usize>,
}

impl<T: Copy + Ord + Debug> Deck<T> {
    pub fn new(all: Vec<T>) -> Self {
        Self {
            left: Vec::new(),
            met: all.iter().map(|one| (*one, 0)).collect(),
            all,
        }
    }

    pub fn draw(&mut self, rng: &mut StdRng) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
        }
        self.left.swap_remove(rng.random_range(0..self.left.len()))
    }

    /// It has come, and it is over.
    pub fn was_met(&mut self, one: T) {
        *self.met.entry(one).or_default() += 1;
    }

    pub fn missing(&self) -> Vec<T> {
        let never = self.met.iter().filter(|(_, times)| **times == 0);
        never.map(|(one, _)| *one).collect()
    }

    pub fn summary(&self) -> String {
        let met = self
            .met
            .iter()
            .map(|(one, times)| format!("{one:?} {times}"));
        format!(
            "{} troubles: {}",
            self.met.values().sum::<usize>(),
            met.collect::<Vec<_>>().join(", ")
        )
    }
}

#[test]
fn each_comes_before_one_comes_again() {
    use rand::SeedableRng;
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let mut deck = Deck::new((0..9).collect());
        for round in 1..4 {
            for _ in 0..9 {
                let one = deck.draw(&mut rng);
                deck.was_met(one);
            }
            assert!(
                deck.met.values().all(|times| *times == round),
                "{}",
                deck.summary()
            );
        }
        assert!(deck.missing().is_empty());
    }
    assert_eq!(Deck::new(vec![1, 2]).missing(), [1, 2]);
}
