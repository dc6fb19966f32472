// SPDX-License-Identifier: GPL-2.0

//! The hash table, against an array that is searched from its beginning.

use kernel::{
    macros::kunit_tests,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
        Arc, //
    },
};
use thop_core::buckets::{
    POSITIONS,
    SPARSE_MS, //
};
use thop_kernel::table::{
    Cache,
    Element,
    Refused,
    Table, //
};

use crate::random::Random;

/// An element that is counted as long as it lives.
struct Item {
    key: u32,
    value: u64,
    alive: Arc<Atomic<i32>>,
}

impl Item {
    fn new(key: u32, value: u64, alive: &Arc<Atomic<i32>>) -> Self {
        alive.fetch_add(1, Relaxed);
        Self {
            key,
            value,
            alive: alive.clone(),
        }
    }
}

impl Drop for Item {
    fn drop(&mut self) {
        self.alive.fetch_sub(1, Relaxed);
    }
}

impl Element for Item {
    type Key = u32;
    type Hasher = ();

    fn key(&self) -> u32 {
        self.key
    }

    fn hash((): &(), key: &u32) -> u32 {
        // Keys meet in the few buckets that there are.
        *key / 3
    }
}

/// How many keys there are.
const KEYS: usize = 40;

/// Does something to the table and to the model; whether both answer alike.
fn step(
    random: &mut Random,
    table: &Table<Item>,
    model: &mut [Option<u64>; KEYS],
    alive: &Arc<Atomic<i32>>,
    limit: usize,
) -> bool {
    let at = random.below(KEYS);
    let key = at as u32;
    let value = random.next();
    let full = model.iter().flatten().count() >= limit;
    let Some(place) = model.get_mut(at) else {
        return false;
    };
    let was = *place;
    match random.below(7) {
        0 => {
            let old = table.insert(Item::new(key, value, alive));
            match old {
                Ok(old) => {
                    *place = Some(value);
                    !full && old.map(|item| item.value) == was
                }
                Err((refused, item)) => full && refused == Refused::Full && item.value == value,
            }
        }
        1 => {
            // Only an even value is given up.
            match table.insert_if(Item::new(key, value, alive), |old| old.value % 2 == 0) {
                Ok(old) => {
                    *place = Some(value);
                    !full
                        && old.map(|item| item.value) == was
                        && was.map_or(true, |was| was % 2 == 0)
                }
                Err((refused, item)) => {
                    let expected = match refused {
                        Refused::Full => full,
                        Refused::Exists => !full && was.is_some_and(|was| was % 2 == 1),
                        Refused::NoMemory => false,
                    };
                    expected && item.value == value
                }
            }
        }
        2 => {
            let wanted = value % 2;
            let removed = table.remove_if(&key, |item| item.value % 2 == wanted);
            let expected = was.filter(|was| was % 2 == wanted);
            if expected.is_some() {
                *place = None;
            }
            removed.map(|item| item.value) == expected
        }
        3 => {
            let changed = table.with(&key, |item| {
                item.value ^= 1;
                item.value
            });
            *place = was.map(|was| was ^ 1);
            changed == *place
        }
        4 => {
            let found = table.find(
                |hasher| Item::hash(hasher, &key),
                |item| item.key == key,
                |item| item.value,
            );
            found == was
        }
        5 => {
            // A bucket loses what has a small value.
            let bound = random.next();
            let mut good = true;
            table.sweep(
                table.position_of(&key),
                |item| item.value < bound,
                |item| {
                    if let Some(place) = model.get_mut(item.key as usize) {
                        good &= *place == Some(item.value) && item.value < bound;
                        *place = None;
                    }
                },
            );
            // The key's own bucket was swept, and only what was told to be gone is gone.
            good && table.with(&key, |item| item.value >= bound) != Some(false)
                && (0..KEYS as u32).all(|key| {
                    table.with(&key, |item| item.value)
                        == model.get(key as usize).copied().flatten()
                })
        }
        _ => {
            // All that there is, bucket by bucket, once.
            let mut seen = [None; KEYS];
            let mut next = 0;
            let mut good = true;
            while let Some(position) = table.next_used(next) {
                next = table.visit(position, |item| {
                    if let Some(place) = seen.get_mut(item.key as usize) {
                        good &= place.is_none();
                        *place = Some(item.value);
                    }
                });
            }
            // And the same by numbers.
            let mut numbered = [None; KEYS];
            let mut next = 0;
            while let Some(number) = table.seek(next) {
                // Who has not had it yet may ask for it again.
                good &= table.seek(number) == Some(number);
                table.show(number, |item| {
                    if let Some(place) = numbered.get_mut(item.key as usize) {
                        good &= place.is_none();
                        *place = Some(item.value);
                    }
                });
                next = number + 1;
            }
            good && seen == *model && numbered == *model
        }
    }
}

#[kunit_tests(thop_table)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_an_array_does() -> Result {
        let alive = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let cache = Arc::new(Cache::new(c"thop_kunit_items")?, GFP_KERNEL)?;
        for (buckets, limit) in [(1, 1000), (4, 20), (64, 1000)] {
            let table = Table::new(cache.clone(), buckets, limit as u32, ())?;
            assert_eq!(table.buckets(), buckets);
            let mut random = Random::new(u64::from(buckets) << 20);
            let mut model = [None; KEYS];
            for _ in 0..3000 {
                assert!(step(&mut random, &table, &mut model, &alive, limit));
                assert_eq!(table.len() as usize, model.iter().flatten().count());
                assert_eq!(table.len() as i32, alive.load(Relaxed));
                assert_eq!(table.is_empty(), table.len() == 0);
            }
            drop(table);
            assert_eq!(alive.load(Relaxed), 0);
        }
        Ok(())
    }

    #[test]
    fn answers_as_an_array_does_while_it_grows_and_shrinks() -> Result {
        let alive = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let cache = Arc::new(Cache::new(c"thop_kunit_items")?, GFP_KERNEL)?;
        for least in [1, 2] {
            let table = Table::new(cache.clone(), least, 1000, ())?.growing(1024);
            let mut random = Random::new(u64::from(least) << 30);
            let mut model = [None; KEYS];
            let (mut now, mut most, mut shrank) = (1, 0, false);
            for round in 0..6000 {
                assert!(step(&mut random, &table, &mut model, &alive, 1000));
                if round % 600 == 599 {
                    // Nearly all go, so that it may shrink.
                    table.sweep_all(
                        |item| item.key > 1,
                        |item| {
                            if let Some(place) = model.get_mut(item.key as usize) {
                                *place = None;
                            }
                        },
                    );
                    table.tend(now);
                    now += SPARSE_MS;
                }
                let before = table.buckets();
                if random.below(3) == 0 {
                    table.tend(now);
                    assert!(table.buckets() >= least);
                    assert!(table.len() <= table.buckets());
                }
                most = most.max(table.buckets());
                shrank |= table.buckets() < before;
                assert_eq!(table.len() as usize, model.iter().flatten().count());
                assert_eq!(table.len() as i32, alive.load(Relaxed));
            }
            assert!(most > 16 && shrank);
            assert_eq!(table.no_memory(), 0);
            drop(table);
            assert_eq!(alive.load(Relaxed), 0);
        }
        Ok(())
    }

    #[test]
    fn a_hundred_thousand_have_short_chains_and_their_buckets_go_with_them() -> Result {
        const COUNT: u32 = 100_000;
        let alive = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let cache = Arc::new(Cache::new(c"thop_kunit_items")?, GFP_KERNEL)?;
        let table = Table::new(cache, 16, COUNT, ())?.growing(1 << 20);
        for key in 0..COUNT {
            // Three keys have one hash.
            assert!(table.insert(Item::new(key, 0, &alive)).is_ok());
            if key % 1000 == 0 {
                while table.tend(1) == Some(10) {}
            }
        }
        while table.tend(1).is_some() {}
        assert_eq!(table.buckets(), COUNT);
        table.sweep_all(
            |item| {
                item.value += 1;
                false
            },
            drop,
        );
        assert!(table.chains().0 <= 6);
        for key in 0..COUNT {
            assert_eq!(table.with(&key, |item| item.value), Some(1));
        }
        table.sweep_all(|item| item.key > 10, drop);
        assert_eq!(table.tend(1), Some(1000));
        let mut rounds = 0;
        while table.tend(2 + SPARSE_MS).is_some() && rounds < 10_000_000 {
            rounds += 1;
        }
        assert!(table.buckets() <= 96);
        for key in 0..=10 {
            assert_eq!(table.with(&key, |item| item.value), Some(1));
        }
        Ok(())
    }

    #[test]
    fn the_number_of_buckets_is_a_power_of_two() -> Result {
        let cache: Arc<Cache<Item>> = Arc::new(Cache::new(c"thop_kunit_items")?, GFP_KERNEL)?;
        for (asked, got) in [(0, 1), (1, 1), (3, 4), (1000, 1024)] {
            let table = Table::new(cache.clone(), asked, 1, ())?;
            assert_eq!(table.buckets(), got);
        }
        Ok(())
    }

    #[test]
    fn without_buckets_there_is_nothing_and_no_room() -> Result {
        let alive = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let cache = Arc::new(Cache::new(c"thop_kunit_items")?, GFP_KERNEL)?;
        let table = Table::unprepared(cache, 4, 2, ());
        let nothing = |table: &Table<Item>| {
            table.with(&1, |_| ()).is_none()
                && table.remove_if(&1, |_| true).is_none()
                && table.next_used(0).is_none()
                && table.sweep(0, |_| true, drop) == 0
        };
        assert!(nothing(&table));
        assert!(matches!(table.room(), Err(Refused::NoMemory)));
        assert!(table.insert(Item::new(1, 1, &alive)).is_err());
        assert!(table.is_empty());
        // A second time it changes nothing.
        table.prepare()?;
        assert!(nothing(&table));
        assert!(table.insert(Item::new(1, 1, &alive)).is_ok());
        table.prepare()?;
        assert_eq!(table.with(&1, |item| item.value), Some(1));
        Ok(())
    }

    #[test]
    fn room_is_kept_and_given_back() -> Result {
        let alive = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let cache = Arc::new(Cache::new(c"thop_kunit_items")?, GFP_KERNEL)?;
        let table = Table::new(cache, 4, 2, ())?;
        let (Ok(first), Ok(second)) = (table.room(), table.room()) else {
            return Err(ENOMEM);
        };
        // Nobody else has it meanwhile.
        assert!(matches!(table.room(), Err(Refused::Full)));
        assert!(table.insert(Item::new(9, 9, &alive)).is_err());
        drop(first);
        assert!(second.fill(Item::new(1, 10, &alive)).is_none());
        assert_eq!(table.len(), 1);
        // What is replaced gives its place back.
        let Ok(third) = table.room() else {
            return Err(ENOMEM);
        };
        assert_eq!(
            third.fill(Item::new(1, 11, &alive)).map(|item| item.value),
            Some(10)
        );
        assert_eq!(table.len(), 1);
        assert_eq!(table.with(&1, |item| item.value), Some(11));
        Ok(())
    }

    #[test]
    fn sweep_all_takes_what_it_is_told() -> Result {
        let alive = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let cache = Arc::new(Cache::new(c"thop_kunit_items")?, GFP_KERNEL)?;
        let table = Table::new(cache, 16, 1000, ())?;
        for key in 0..500 {
            assert!(table.insert(Item::new(key, u64::from(key), &alive)).is_ok());
        }
        let mut gone = 0;
        table.sweep_all(|item| item.value % 2 == 0, |_| gone += 1);
        assert_eq!(gone, 250);
        assert_eq!(table.len(), 250);
        table.sweep_all(|_| true, |_| gone += 1);
        assert_eq!(gone, 500);
        assert_eq!(alive.load(Relaxed), 0);
        assert_eq!(table.next_used(0), None);
        Ok(())
    }

    #[test]
    fn a_sweep_by_parts_meets_each_element_once_a_round() -> Result {
        let alive = Arc::new(Atomic::new(0), GFP_KERNEL)?;
        let cache = Arc::new(Cache::new(c"thop_kunit_items")?, GFP_KERNEL)?;
        let table = Table::new(cache, 16, 1000, ())?;
        for key in 0..500 {
            assert!(table.insert(Item::new(key, 0, &alive)).is_ok());
        }
        let mut longest = 0;
        for bucket in 0..16 {
            longest = longest.max(table.sweep(bucket * (POSITIONS / 16), |_| false, drop));
        }
        // Three parts of seven buckets are a round of sixteen.
        for round in 1..=3 {
            for part in 0..3 {
                // What is told of chains is of the round before.
                assert_eq!(table.chains().0, if round == 1 { 0 } else { longest });
                let mut met = 0;
                table.sweep_part(
                    POSITIONS / 16 * 7,
                    |item| {
                        item.value += 1;
                        met += 1;
                        false
                    },
                    drop,
                );
                assert!(part == 2 || met > 0);
            }
            for key in 0..500 {
                assert_eq!(table.with(&key, |item| item.value), Some(round));
            }
        }
        let mut gone = 0;
        table.sweep_part(u32::MAX, |item| item.value == 3, |_| gone += 1);
        assert_eq!(gone, 500);
        assert_eq!(table.chains().0, 0);
        Ok(())
    }
}
