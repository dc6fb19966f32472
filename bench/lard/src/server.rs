// SPDX-License-Identifier: GPL-2.0

//! A server: a CPU, a disk, and a cache of files.
//!
//! The costs are those of Pai et al. (a 300 MHz Pentium II with FreeBSD): 145 us of CPU each to begin
//! and to end a connection, 40 us for each 512 octets sent; 28 ms for a disk to begin, 410 us for each
//! 4 KiB read, and 14 ms again for each 44 KiB beyond the first 44. Today's machines are faster by
//! two orders of magnitude in all of these, so ratios are what to look at. Both CPU and disk do one
//! thing at a time, first come, first served.
//!
//! Simpler than theirs: a file is read as a whole before it is sent, and the cache forgets what was
//! not used for the longest time, where theirs regards sizes too (GreedyDual-Size).

/// Microseconds.
pub type Time = u64;

/// The octets that a server's cache holds.
const CACHE: u64 = 32 << 20;
const BEGIN: Time = 145;
const END: Time = 145;

/// What to send a file costs, with the connection's end.
fn sending(size: u32) -> Time {
    40 * Time::from(size.div_ceil(512)) + END
}

/// What to read a file costs.
fn reading(size: u32) -> Time {
    let beyond = size.saturating_sub(44 << 10).div_ceil(44 << 10);
    28_000 + 410 * Time::from(size.div_ceil(4096)) + 14_000 * Time::from(beyond)
}

/// Something that does one thing after another.
#[derive(Default)]
struct Queue {
    free: Time,
}

impl Queue {
    /// When something is done that comes now and takes so long.
    fn add(&mut self, now: Time, takes: Time) -> Time {
        self.free = self.free.max(now) + takes;
        self.free
    }
}

pub struct Server {
    cpu: Queue,
    disk: Queue,
    pub cache: Cache,
}

impl Server {
    /// For so many files.
    pub fn new(files: usize) -> Self {
        Self {
            cpu: Queue::default(),
            disk: Queue::default(),
            cache: Cache::new(files, CACHE),
        }
    }

    /// A connection comes; when the server has it.
    pub fn begin(&mut self, now: Time) -> Time {
        self.cpu.add(now, BEGIN)
    }

    /// When a file has been read.
    pub fn read(&mut self, now: Time, size: u32) -> Time {
        self.disk.add(now, reading(size))
    }

    /// When a file has been sent, and the connection has ended.
    pub fn send(&mut self, now: Time, size: u32) -> Time {
        self.cpu.add(now, sending(size))
    }
}

/// The end of the list.
const NONE: u32 = u32::MAX;

/// A cache that forgets what was not used for the longest time.
pub struct Cache {
    size: u64,
    /// What is left of it.
    room: u64,
    /// Each file's neighbours, newer and older; those of the list itself are behind them.
    links: Vec<(u32, u32)>,
    /// The sizes of the files that are in the cache; else 0.
    sizes: Vec<u32>,
}

impl Cache {
    fn new(files: usize, size: u64) -> Self {
        let mut links = vec![(NONE, NONE); files];
        links.push((files as u32, files as u32));
        Self {
            size,
            room: size,
            links,
            sizes: vec![0; files],
        }
    }

    /// Whether the file is there. It is the newest then.
    pub fn use_file(&mut self, file: u32) -> bool {
        let there = self.sizes[file as usize] > 0;
        if there {
            self.unlink(file);
            self.link(file);
        }
        there
    }

    /// The file is there now, and others may not be any more.
    pub fn add(&mut self, file: u32, size: u32) {
        if self.use_file(file) || u64::from(size) > self.size {
            return;
        }
        let list = self.sizes.len();
        while self.room < u64::from(size) {
            let oldest = self.links[list].0;
            self.unlink(oldest);
            self.room += u64::from(std::mem::take(&mut self.sizes[oldest as usize]));
        }
        self.room -= u64::from(size);
        self.sizes[file as usize] = size;
        self.link(file);
    }

    fn link(&mut self, file: u32) {
        let list = self.sizes.len();
        let newest = self.links[list].1;
        self.links[file as usize] = (list as u32, newest);
        self.links[list].1 = file;
        self.links[newest as usize].0 = file;
    }

    fn unlink(&mut self, file: u32) {
        let (newer, older) = self.links[file as usize];
        self.links[newer as usize].1 = older;
        self.links[older as usize].0 = newer;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    #[test]
    fn the_cache_is_as_a_list() {
        let mut cache = Cache::new(20, 100);
        let mut list: VecDeque<(u32, u32)> = VecDeque::new();
        for n in 0..2000u32 {
            let file = (n.wrapping_mul(2_654_435_761) >> 7) & 15;
            let size = file * 3 + 1;
            let at = list.iter().position(|&(other, _)| other == file);
            assert_eq!(cache.use_file(file), at.is_some());
            match at {
                Some(at) => {
                    let entry = list.remove(at).unwrap();
                    list.push_back(entry);
                }
                None => {
                    cache.add(file, size);
                    list.push_back((file, size));
                    while list.iter().map(|&(_, size)| size).sum::<u32>() > 100 {
                        list.pop_front();
                    }
                }
            }
        }
    }

    #[test]
    fn costs() {
        // 8 KiB, as the paper reckons: 290 + 16 * 40 us of CPU, 28 + 2 * 0.41 ms of disk.
        assert_eq!(BEGIN + sending(8192), 930);
        assert_eq!(reading(8192), 28_820);
        assert_eq!(reading(88 << 10), 28_000 + 22 * 410 + 14_000);
    }
}
