// SPDX-License-Identifier: GPL-2.0

//! Things to do later, the earliest first.
//!
//! There are few spans of time after which things are due, and those of one span come in the order in which they are due: they
//! stand in a line, where each costs the same however many there are. What fits at the end of no line goes into a
//! binary heap in an array: the children of element `i` are `2i + 1` and `2i + 2`, and none is due
//! before its parent. Nothing is ever taken out early: whoever finds, when a deadline comes, that
//! the matter is settled, does nothing.

use crate::heap::{
    Heap,
    List,
    OutOfMemory, //
};

/// How many lines there are. Who has more spans of time than that still has one line for each of those that are in use at a time,
/// mostly.
const LINES: usize = 8;
/// How many keys stand in one piece of memory: with that of a connection and the time 56 octets each, a page in all.
const PIECE: usize = 64;
/// How many pieces may be gone, at least, before the others move up.
const MOST_GONE: usize = 64;

/// A queue of keys, each with the time at which it is due. Times are milliseconds of any clock that
/// does not go back.
pub struct Deadlines<H: Heap, K> {
    lines: [Line<H, K>; LINES],
    heap: H::List<(u64, K)>,
}

impl<H: Heap, K: Copy> Default for Deadlines<H, K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<H: Heap, K: Copy> Deadlines<H, K> {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            lines: core::array::from_fn(|_| Line {
                pieces: Default::default(),
                gone: 0,
                left: 0,
                waiting: 0,
            }),
            heap: Default::default(),
        }
    }

    /// How many keys are waiting.
    #[inline]
    pub fn len(&self) -> usize {
        let in_lines = self.lines.iter().map(|line| line.waiting);
        in_lines.fold(self.heap.len(), usize::saturating_add)
    }

    /// Whether none is waiting.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.next().is_none()
    }

    /// When the next key is due.
    #[inline]
    pub fn next(&self) -> Option<u64> {
        let first = self.heap.first().map(|(due_ms, _)| *due_ms);
        self.lines.iter().filter_map(Line::next).chain(first).min()
    }

    /// Adds `key`, due at `due_ms`. Without memory for it the queue stays as it was.
    pub fn push(&mut self, due_ms: u64, key: K) -> Result<(), OutOfMemory> {
        // The one whose last is due soonest before this; an empty one only if there is no other.
        let fits = |line: &&mut Line<H, K>| line.last().is_none_or(|last| last <= due_ms);
        let line = self
            .lines
            .iter_mut()
            .filter(fits)
            .max_by_key(|line| line.last());
        if let Some(line) = line {
            return line.append((due_ms, key));
        }
        let end = self.heap.len();
        self.heap.try_push((due_ms, key))?;
        rise(&mut self.heap, end);
        Ok(())
    }

    /// Takes the key that is due first, if it is due at `now_ms`. Keys due at the same time come in
    /// no particular order.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<K> {
        let next = self.next()?;
        if next > now_ms {
            return None;
        }
        let mut lines = self.lines.iter_mut();
        if let Some(line) = lines.find(|line| line.next() == Some(next)) {
            return line.leave();
        }
        let last = self.heap.len().checked_sub(1)?;
        swap(&mut self.heap, 0, last);
        let (_, key) = self.heap.pop()?;
        sink(&mut self.heap);
        Some(key)
    }
}

/// Keys in the order in which they are due.
///
/// They stand in pieces of a page at most, so that a long line needs no memory in one piece, which is hard to get where
/// nobody may wait for it.
struct Line<H: Heap, K> {
    /// Full but for the last. Those at the front may have been left by all.
    pieces: H::List<Piece<H, K>>,
    /// How many pieces at the front have been left by all: none is behind them then but for this number.
    gone: usize,
    /// How many have left the first of the others. Fewer than there are places in it, or none.
    left: usize,
    /// How many wait.
    waiting: usize,
}

type Piece<H, K> = <H as Heap>::List<(u64, K)>;

impl<H: Heap, K: Copy> Line<H, K> {
    /// When the next is due.
    #[inline]
    fn next(&self) -> Option<u64> {
        let first = self.pieces.get(self.gone)?;
        first.get(self.left).map(|(due_ms, _)| *due_ms)
    }

    /// When the last is due.
    #[inline]
    fn last(&self) -> Option<u64> {
        let last = self.pieces.last()?;
        last.last().map(|(due_ms, _)| *due_ms)
    }

    fn append(&mut self, last: (u64, K)) -> Result<(), OutOfMemory> {
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.try_push(last)?,
            _ => {
                // As many have gone as now move, at least: each moves once, on average.
                if self.gone >= MOST_GONE && self.gone >= self.pieces.len() / 2 {
                    self.move_up();
                }
                let mut piece = Piece::<H, K>::default();
                piece.try_push(last)?;
                self.pieces.try_push(piece)?;
            }
        }
        self.waiting = self.waiting.saturating_add(1);
        Ok(())
    }

    fn leave(&mut self) -> Option<K> {
        let is_last = self.gone.saturating_add(1) >= self.pieces.len();
        let first = self.pieces.get_mut(self.gone)?;
        let (_, key) = *first.get(self.left)?;
        self.left = self.left.saturating_add(1);
        self.waiting = self.waiting.saturating_sub(1);
        if self.left >= first.len() {
            self.left = 0;
            if is_last {
                // Nobody is there. One piece is kept for whoever comes next.
                first.clear();
                self.move_up();
            } else {
                *first = Default::default();
                self.gone = self.gone.saturating_add(1);
            }
        }
        Some(key)
    }

    /// Takes the pieces away that have been left by all.
    fn move_up(&mut self) {
        for at in self.gone..self.pieces.len() {
            swap(&mut self.pieces, at.saturating_sub(self.gone), at);
        }
        for _ in 0..self.gone {
            self.pieces.pop();
        }
        self.gone = 0;
    }
}

/// Whether element `a` is due before element `b`. An element that is not there never is.
#[inline]
fn before<K>(heap: &[(u64, K)], a: usize, b: usize) -> bool {
    matches!((heap.get(a), heap.get(b)), (Some((a, _)), Some((b, _))) if a < b)
}

/// Exchanges two elements that are there.
#[inline]
fn swap<T>(items: &mut [T], a: usize, b: usize) {
    if a < items.len() && b < items.len() {
        items.swap(a, b);
    }
}

/// Moves element `at` up until its parent is not due after it.
fn rise<K>(heap: &mut [(u64, K)], mut at: usize) {
    while let Some(above) = at.checked_sub(1) {
        let parent = above / 2;
        if !before(heap, at, parent) {
            break;
        }
        swap(heap, at, parent);
        at = parent;
    }
}

/// Moves the first element down until none of its children is due before it.
fn sink<K>(heap: &mut [(u64, K)]) {
    let mut at = 0usize;
    loop {
        // The length of an array is at most `isize::MAX` octets: these do not wrap in it.
        let left = at.wrapping_mul(2).wrapping_add(1);
        let right = left.wrapping_add(1);
        let child = if before(heap, right, left) {
            right
        } else {
            left
        };
        if !before(heap, child, at) {
            break;
        }
        swap(heap, at, child);
        at = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::heap::StdHeap;

    #[test]
    fn the_earliest_comes_first_and_only_when_due() {
        let mut queue = Deadlines::<StdHeap, u32>::new();
        assert_eq!(queue.next(), None);
        assert_eq!(queue.pop_due(u64::MAX), None);
        for due_ms in [5, 1, 4, 1, 3, 9, 2, 6] {
            queue.push(due_ms, due_ms as u32).unwrap();
        }
        assert_eq!(queue.len(), 8);
        assert_eq!(queue.next(), Some(1));
        assert_eq!(queue.pop_due(0), None);
        let mut order = std::vec::Vec::new();
        while let Some(key) = queue.pop_due(5) {
            order.push(key);
        }
        assert_eq!(order, [1, 1, 2, 3, 4, 5]);
        assert_eq!(queue.next(), Some(6));
        assert!(!queue.is_empty());
    }

    #[test]
    fn each_span_of_time_has_a_line() {
        const SPANS: [u32; LINES] = [4, 40, 200, 1_000, 1_500, 2_000, 2_001, 4_000];
        let mut queue = Deadlines::<StdHeap, u32>::new();
        let mut places = 0;
        for now in 0..20_000u32 {
            for span in SPANS {
                queue.push(u64::from(now + span), now + span).unwrap();
            }
            while let Some(due) = queue.pop_due(u64::from(now)) {
                assert_eq!(due, now, "late");
            }
            assert!(queue.heap.is_empty());
            let pieces = queue.lines.iter().map(|line| {
                // What nobody stands in any more is given back at once.
                assert!(line
                    .pieces
                    .iter()
                    .take(line.gone)
                    .all(|piece| piece.capacity() == 0));
                assert!(line.pieces.iter().all(|piece| piece.capacity() <= PIECE));
                line.pieces.len() - line.gone
            });
            places = pieces.sum::<usize>() * PIECE;
        }
        // Two pieces of each line need not be full.
        let waiting = SPANS.iter().sum::<u32>() as usize;
        assert_eq!(queue.len(), waiting);
        assert!(places <= waiting + LINES * 2 * PIECE, "{places}");
        while queue.pop_due(u64::MAX).is_some() {}
        assert!(
            queue.is_empty()
                && queue
                    .lines
                    .iter()
                    .all(|line| line.pieces.len() <= 1 && line.gone == 0)
        );
    }

    #[test]
    fn a_long_line_moves_up() {
        const MANY: u64 = 100 * PIECE as u64;
        let mut queue = Deadlines::<StdHeap, u64>::new();
        for due_ms in 0..MANY {
            queue.push(due_ms, due_ms).unwrap();
        }
        for due_ms in 0..3 * MANY {
            queue.push(MANY + due_ms, MANY + due_ms).unwrap();
            assert_eq!(queue.pop_due(u64::MAX), Some(due_ms));
            assert_eq!(queue.len() as u64, MANY);
            // The list of pieces does not grow.
            assert!(queue.lines[0].pieces.len() <= 2 * 101 + 1);
        }
    }

    #[test]
    fn what_fits_in_no_line_comes_in_time_all_the_same() {
        let mut queue = Deadlines::<StdHeap, u32>::new();
        for due_ms in (0..100).rev() {
            queue.push(due_ms, due_ms as u32).unwrap();
        }
        assert_eq!(queue.heap.len(), 100 - LINES);
        for due_ms in 0..100 {
            assert_eq!(queue.pop_due(due_ms), Some(due_ms as u32));
            assert_eq!(queue.pop_due(due_ms), None);
        }
    }
}
