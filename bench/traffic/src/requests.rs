// SPDX-License-Identifier: GPL-2.0

//! Real requests on real TCP, each on a connection of its own.

use std::{
    io::{self, Read, Write},
    net::{Ipv4Addr, SocketAddrV4, TcpStream},
    sync::{
        atomic::{AtomicU32, Ordering::Relaxed},
        Mutex,
    },
    thread,
    time::{Duration, Instant},
};

use crate::mark::mark;

/// What is asked for, and how.
#[derive(clap::Args, Clone)]
pub struct Requests {
    /// The service.
    #[arg(long)]
    service: Ipv4Addr,
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// How many.
    #[arg(long)]
    count: u32,
    /// How many before, that are not measured.
    #[arg(long, default_value_t = 50)]
    first: u32,
    /// How many at a time.
    #[arg(long, default_value_t = 4)]
    at_once: u32,
    #[arg(long, default_value = "/1k")]
    path: String,
    /// Octets of the response's body.
    #[arg(long, default_value_t = 1024)]
    length: usize,
    /// A PUT with so many octets, instead of a GET.
    #[arg(long)]
    upload: Option<usize>,
}

/// Length of a request's head, octets.
const HEAD: usize = 200;
const CHUNK: usize = 1 << 16;

impl Requests {
    /// The head of a request, of [`HEAD`] octets.
    fn head(&self) -> String {
        let (method, length) = match self.upload {
            Some(octets) => ("PUT", format!("Content-Length: {octets}\r\n")),
            None => ("GET", String::new()),
        };
        let begin = format!(
            "{method} {} HTTP/1.1\r\nHost: www.example.com\r\nUser-Agent: traffic/1\r\nAccept: */*\r\n\
             Connection: close\r\n{length}X-Padding: ",
            self.path
        );
        let padding = HEAD.saturating_sub(begin.len() + 4);
        format!("{begin}{}\r\n\r\n", "0".repeat(padding))
    }

    /// One request. Returns after how long the first octet came, and the last.
    /// `chunk` is room for what is sent and received.
    fn ask(&self, head: &str, chunk: &mut [u8]) -> io::Result<(Duration, Duration)> {
        let begun = Instant::now();
        let mut stream = TcpStream::connect(SocketAddrV4::new(self.service, self.port))?;
        stream.write_all(head.as_bytes())?;
        let mut left = self.upload.unwrap_or(0);
        while left > 0 {
            let len = left.min(chunk.len());
            stream.write_all(&chunk[..len])?;
            left -= len;
        }
        let mut got = stream.read(chunk)?;
        let first = begun.elapsed();
        let text = &chunk[..got];
        let head_len = text
            .windows(4)
            .position(|w| w == b"\r\n\r\n")
            .map(|at| at + 4);
        let wanted: &[&[u8]] = &[b"HTTP/1.1 200", b"HTTP/1.1 201", b"HTTP/1.1 204"];
        let good = wanted.iter().any(|status| text.starts_with(status));
        let (true, Some(head_len)) = (good, head_len) else {
            let text = String::from_utf8_lossy(text).into_owned();
            return Err(io::Error::other(format!("an answer that begins {text:?}")));
        };
        loop {
            match stream.read(chunk)? {
                0 => break,
                more => got += more,
            }
        }
        let body = got - head_len;
        if self.upload.is_none() && body != self.length {
            return Err(io::Error::other(format!("a body of {body} octets")));
        }
        Ok((first, begun.elapsed()))
    }

    /// So many of them. Returns their times.
    fn ask_all(&self, count: u32) -> io::Result<Vec<(Duration, Duration)>> {
        let (head, next, times) = (self.head(), AtomicU32::new(0), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            let work = || -> io::Result<()> {
                let (mut mine, mut chunk) = (Vec::new(), vec![0; CHUNK]);
                while next.fetch_add(1, Relaxed) < count {
                    mine.push(self.ask(&head, &mut chunk)?);
                }
                times.lock().expect("no thread panics").extend(mine);
                Ok(())
            };
            let threads: Vec<_> = (0..self.at_once).map(|_| scope.spawn(work)).collect();
            threads
                .into_iter()
                .try_for_each(|thread| thread.join().expect("no thread panics"))
        })?;
        Ok(times.into_inner().expect("no thread panics"))
    }

    /// Asks, between two marks, and prints how long the first and the last octet took: median and 99th
    /// percentile, nanoseconds.
    pub fn run(&self) -> io::Result<()> {
        self.ask_all(self.first)?;
        mark();
        let times = self.ask_all(self.count)?;
        mark();
        let (mut firsts, mut lasts): (Vec<_>, Vec<_>) = times.into_iter().unzip();
        let mut line = String::from("times");
        for list in [&mut firsts, &mut lasts] {
            list.sort_unstable();
            for part in [50, 99] {
                let time = list
                    .get((list.len() - 1) * part / 100)
                    .copied()
                    .unwrap_or_default();
                line += &format!(" {}", time.as_nanos());
            }
        }
        println!("{line}");
        Ok(())
    }
}
