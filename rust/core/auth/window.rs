// SPDX-License-Identifier: GPL-2.0

//! Which of the latest sequence numbers have come.

/// How many sequence numbers behind the highest are told apart, at least.
///
/// A sender counts its messages to all receivers together, and a network may deliver the messages to
/// one of them out of order: this is how many the others may be sent meanwhile.
pub const WINDOW: u64 = (WORDS as u64 - 1) * 64;

const WORDS: usize = 64;

/// What a window says of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It has not come before, and is marked now.
    New,
    /// It has come.
    Again,
    /// It lies too far behind the highest to be known.
    Late,
}

/// The numbers that have come: a sliding window, as of RFC 4303, section 3.4.3, with the ring of
/// words of RFC 6479, so that moving on costs a word for 64 numbers and shifts nothing.
#[derive(Clone, Debug)]
pub struct Window {
    highest: u64,
    /// Whether anything has come.
    begun: bool,
    /// Bit n % 64 of word n / 64 % WORDS stands for number n.
    words: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Self {
        Self::new()
    }
}

impl Window {
    /// Nothing has come.
    pub const fn new() -> Self {
        Self {
            highest: 0,
            begun: false,
            words: [0; WORDS],
        }
    }

    /// Judges a number, and marks it when it is new. To be asked only for a message that is genuine:
    /// a forged number would move the window.
    pub fn judge(&mut self, number: u64) -> Judged {
        let word = number / 64;
        let newest = self.highest / 64;
        if !self.begun || word > newest {
            // Words between are of numbers that have not come.
            let fresh = if self.begun { word - newest } else { u64::MAX };
            if fresh >= WORDS as u64 {
                self.words = [0; WORDS];
            } else {
                for n in 1..=fresh {
                    if let Some(word) = self.words.get_mut(Self::place(newest.wrapping_add(n))) {
                        *word = 0;
                    }
                }
            }
        } else if newest - word >= WORDS as u64 {
            return Judged::Late;
        }
        if !self.begun || number > self.highest {
            self.highest = number;
        }
        self.begun = true;
        let bit = 1u64 << (number % 64);
        match self.words.get_mut(Self::place(word)) {
            Some(word) if *word & bit == 0 => {
                *word |= bit;
                Judged::New
            }
            _ => Judged::Again,
        }
    }

    fn place(word: u64) -> usize {
        (word % WORDS as u64) as usize
    }
}
