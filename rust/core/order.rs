// SPDX-License-Identifier: GPL-2.0

//! Sorting without a panic path.
//!
//! `core`'s sorts end in a panic when a comparison contradicts itself. This one is a plain heapsort
//! (Williams 1964): in place, O(n log n) always, not stable; a contradictory key gives some order.

/// Sorts by a key.
pub fn sort_by_key<T, K: Ord>(items: &mut [T], mut key: impl FnMut(&T) -> K) {
    let len = items.len();
    for root in (0..len / 2).rev() {
        sift_down(items, root, len, &mut key);
    }
    for end in (1..len).rev() {
        swap(items, 0, end);
        sift_down(items, 0, end, &mut key);
    }
}

/// Restores the heap below `root` within the first `len` items.
fn sift_down<T, K: Ord>(
    items: &mut [T],
    mut root: usize,
    len: usize,
    key: &mut impl FnMut(&T) -> K,
) {
    loop {
        let mut largest = root;
        for child in [root.saturating_mul(2) + 1, root.saturating_mul(2) + 2] {
            if child < len {
                if let (Some(a), Some(b)) = (items.get(child), items.get(largest)) {
                    if key(a) > key(b) {
                        largest = child;
                    }
                }
            }
        }
        if largest == root {
            return;
        }
        swap(items, root, largest);
        root = largest;
    }
}

fn swap<T>(items: &mut [T], a: usize, b: usize) {
    if a.max(b) < items.len() {
        items.swap(a, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec;

    proptest! {
        #[test]
        fn sorts_as_the_standard_library_does(mut items: Vec<u16>) {
            let mut expected = items.clone();
            expected.sort_unstable();
            sort_by_key(&mut items, |&i| i);
            prop_assert_eq!(items, expected);
        }
    }
}
