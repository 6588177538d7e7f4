//! What was read from the database, kept until it changes or grows old.
//!
//! Whoever changes a row commits first and calls [`Cache::forget`] then. A reading that began before the commit may end after `forget`, and
//! would bring the old back for as long as things are kept; so `forget` raises a generation, and what was read in an older one is used by
//! its reader and not kept.

use dashmap::{DashMap, mapref::entry::Entry};
use std::{
    hash::{BuildHasher, Hash, RandomState},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Keys share generations: a change of one makes a reading of another, rarely, not be kept.
const GENERATIONS: usize = 64;

/// A full cache lets go of this share of its values at once: each look for the oldest goes over all.
const SHARE_FREED: usize = 8;

pub struct Cache<K, V> {
    known: DashMap<K, (Instant, V)>,
    generations: [AtomicU64; GENERATIONS],
    hasher: RandomState,
    kept_for: Duration,
    kept_max: usize,
}

/// When a reading began.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    generation: u64,
    began: Instant,
}

impl<K: Hash + Eq, V: Clone> Cache<K, V> {
    /// Keeps `kept_max` values at most, each for `kept_for`.
    pub fn new(kept_for: Duration, kept_max: usize) -> Self {
        Self {
            known: DashMap::new(),
            generations: std::array::from_fn(|_| AtomicU64::new(0)),
            hasher: RandomState::new(),
            kept_for,
            kept_max,
        }
    }

    pub fn get(&self, key: &K) -> Option<V> {
        let entry = self.known.get(key)?;
        (entry.0.elapsed() < self.kept_for).then(|| entry.1.clone())
    }

    /// The value as it is known, or as `read` gives it.
    ///
    /// # Errors
    /// Those of `read`; nothing is kept then.
    pub async fn get_or_read<E>(
        &self,
        key: K,
        read: impl Future<Output = Result<V, E>>,
    ) -> Result<V, E> {
        if let Some(known) = self.get(&key) {
            return Ok(known);
        }
        let reading = self.begin(&key);
        let value = read.await?;
        self.keep(key, value.clone(), reading);
        Ok(value)
    }

    /// To be called before anything is read.
    pub fn begin(&self, key: &K) -> Reading {
        Reading {
            generation: self.generation(key).load(Ordering::SeqCst),
            began: Instant::now(),
        }
    }

    /// Keeps what was read, unless it was changed meanwhile.
    pub fn keep(&self, key: K, value: V, reading: Reading) {
        if self.known.len() >= self.kept_max && !self.known.contains_key(&key) {
            self.make_room();
        }
        let generation = self.generation(&key);
        // The entry is locked while the generation is looked at: `forget` raises it first, and then waits for the entry.
        let entry = self.known.entry(key);
        if generation.load(Ordering::SeqCst) != reading.generation {
            return;
        }
        match entry {
            Entry::Occupied(mut entry) => drop(entry.insert((reading.began, value))),
            Entry::Vacant(entry) => drop(entry.insert((reading.began, value))),
        }
    }

    /// Lets go of what is too old, and of the oldest until there is room for a share of new values: whoever brings many keys takes the place
    /// of what would be read again soon anyway, and not of everything.
    fn make_room(&self) {
        let mut readings: Vec<Instant> = self.known.iter().map(|entry| entry.value().0).collect();
        let surplus = (readings.len() + self.kept_max.div_ceil(SHARE_FREED))
            .saturating_sub(self.kept_max)
            .min(readings.len());
        if surplus == 0 {
            return;
        }
        let (_, last, _) = readings.select_nth_unstable(surplus - 1);
        let (last, mut left) = (*last, surplus);
        self.known.retain(|_, (began, _)| {
            let goes = began.elapsed() >= self.kept_for || (*began <= last && left > 0);
            left -= usize::from(goes && left > 0);
            !goes
        });
    }

    /// It has changed: it is read again, also by whoever is reading it now.
    pub fn forget(&self, key: &K) {
        self.generation(key).fetch_add(1, Ordering::SeqCst);
        self.known.remove(key);
    }

    /// A key whose value is as wanted.
    #[cfg(test)]
    pub fn key_of(&self, is_wanted: impl Fn(&V) -> bool) -> Option<K>
    where
        K: Clone,
    {
        let mut known = self.known.iter();
        let found = known.find(|entry| is_wanted(&entry.value().1));
        found.map(|entry| entry.key().clone())
    }

    fn generation(&self, key: &K) -> &AtomicU64 {
        let place = self.hasher.hash_one(key) as usize % GENERATIONS;
        &self.generations[place]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use tokio::sync::oneshot;

    fn cache() -> Cache<u32, u32> {
        Cache::new(Duration::from_secs(60), 100)
    }

    #[tokio::test]
    async fn a_reading_that_began_before_forget_is_not_kept() {
        let cache = cache();
        let (old, answer) = oneshot::channel();
        let mut slow = Box::pin(cache.get_or_read(1, answer));
        assert!(futures::poll!(&mut slow).is_pending());
        cache.forget(&1);
        let now = cache.get_or_read(1, async { Ok::<_, Infallible>(2) }).await;
        assert_eq!(now, Ok(2));
        old.send(1).expect("its reader waits");
        assert_eq!(slow.await, Ok(1), "its reader asked before the change");
        assert_eq!(cache.get(&1), Some(2), "the old does not come back");
    }

    #[tokio::test]
    async fn what_is_forgotten_before_it_was_read_once_is_not_kept_either() {
        let cache = cache();
        let reading = cache.begin(&1);
        cache.forget(&1);
        cache.keep(1, 1, reading);
        assert_eq!(cache.get(&1), None);
        let reading = cache.begin(&1);
        cache.keep(1, 2, reading);
        assert_eq!(cache.get(&1), Some(2));
    }

    #[test]
    fn values_grow_old_and_are_bounded() {
        let short = Cache::new(Duration::ZERO, 2);
        for key in 0..5 {
            short.keep(key, key, short.begin(&key));
        }
        assert_eq!(short.get(&4), None);
        assert!(short.known.len() <= 2);
    }

    #[test]
    fn full_cache_lets_go_of_the_oldest_only() {
        let cache = cache();
        let first = cache.begin(&0);
        for key in 0..100 {
            let began = first.began + Duration::from_micros(u64::from(key));
            cache.keep(
                key,
                key,
                Reading {
                    began,
                    ..cache.begin(&key)
                },
            );
        }
        let new = |key| Reading {
            began: first.began + Duration::from_millis(1),
            ..cache.begin(&key)
        };
        cache.keep(50, 51, new(50));
        assert_eq!(cache.known.len(), 100, "one that is known needs no room");
        cache.keep(100, 100, new(100));
        let gone: Vec<_> = (0..=100).filter(|key| cache.get(key).is_none()).collect();
        assert_eq!(gone, (0..13).collect::<Vec<_>>());
    }

    #[test]
    fn full_cache_makes_room_though_all_was_read_at_once() {
        let cache = cache();
        let at_once = cache.begin(&0);
        for key in 0..1_000 {
            let reading = Reading {
                began: at_once.began,
                ..cache.begin(&key)
            };
            cache.keep(key, key, reading);
            assert!((88..=100).contains(&cache.known.len()) || key < 100);
        }
    }
}
