// SPDX-License-Identifier: GPL-2.0

//! Small things for readable tables.

use core::fmt::{
    self,
    Write, //
};

use thop_core::addr::Endpoint;

/// An endpoint, padded to the longest that IPv4 has.
pub struct Padded(pub Endpoint);

impl fmt::Display for Padded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut counted = Filter {
            out: f,
            written: 0,
            map: |c| c,
        };
        write!(counted, "{}", self.0)?;
        for _ in counted.written..21 {
            f.write_char(' ')?;
        }
        Ok(())
    }
}

/// A text with underscores where it has something else than letters and digits: for names of
/// counters.
pub struct Underscored<T>(pub T);

impl<T: fmt::Display> fmt::Display for Underscored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let map = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        };
        write!(
            Filter {
                out: f,
                written: 0,
                map,
            },
            "{}",
            self.0
        )
    }
}

/// Counts and maps what is written.
struct Filter<'a, 'b> {
    out: &'a mut fmt::Formatter<'b>,
    written: usize,
    map: fn(char) -> char,
}

impl Write for Filter<'_, '_> {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        for c in s.chars() {
            self.out.write_char((self.map)(c))?;
            self.written += 1;
        }
        Ok(())
    }
}
