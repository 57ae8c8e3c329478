//! Peers of the engine benchmark in Rust. Orders and answers are those of bench/peers/go/main.go.

mod caches;
mod slab;
mod state;
mod stream;

use caches::{Cache, Counts};
use state::ReadState;
use std::io::BufRead;
use std::time::{Duration, Instant};
use stream::*;

struct Peer {
    cache: Box<dyn Cache>,
    channels: u64,
    counts: Counts,
    stream: Option<Stream>,
    block: Vec<Operation>,
    replies: Vec<u32>,
    rss_before: u64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let records: usize = args[2].parse().expect("the number of records");
    let rss_before = rss_bytes();
    let cache: Box<dyn Cache> = match args[1].as_str() {
        "rust-lru" => Box::new(caches::Lru::new(records)),
        "rust-quick-cache" => Box::new(caches::Quick::new(records)),
        "rust-moka" => Box::new(caches::Moka::new(records)),
        "rust-slab" => Box::new(slab::Slab::new(records)),
        other => panic!("no side {other}"),
    };
    let mut peer = Peer {
        cache,
        channels: args[3].parse().expect("the number of channels"),
        counts: Counts::default(),
        stream: None,
        block: vec![Operation::default(); BLOCK_OPERATIONS],
        replies: vec![0; BLOCK_OPERATIONS * REPLY_STRIDE],
        rss_before,
    };
    for line in std::io::stdin().lock().lines() {
        let line = line.expect("an order");
        let mut words = line.split_whitespace();
        let order = words.next().expect("an order");
        let numbers: Vec<f64> = words.map(|word| word.parse().expect("a number")).collect();
        println!(
            "{}",
            match order {
                "fill" => peer.fill(numbers[0] as u64),
                "check" => peer.check(numbers[0] as usize, mixture_of(&numbers[1..])),
                "round" => peer.round(numbers[0], mixture_of(&numbers[1..])),
                other => panic!("no order {other}"),
            }
        );
    }
}

fn mixture_of(n: &[f64]) -> Mixture {
    Mixture {
        users: n[0],
        zeta_n: n[1],
        eta: n[2],
        zeta_2: n[3],
        cold_percent: n[4],
        seed: n[5],
        repeat_percent: n[6],
    }
}

impl Peer {
    fn fill(&mut self, users: u64) -> String {
        let start = Instant::now();
        let mut from = 0;
        while from < users {
            let to = (from + BLOCK_OPERATIONS as u64).min(users);
            for user in from..to {
                for channel in 0..self.channels {
                    let key = (user_id(user), channel_id(self.channels, user, channel));
                    let message = OLD_MESSAGE_HIGH << 32 | mix(channel as u32 + 1) as u64;
                    let version = channel as u32 + 1;
                    self.cache.load(key, ReadState { message, version, ..ReadState::default() });
                }
            }
            for user in from..to {
                self.block[(user - from) as usize] = Operation {
                    op: OP_ACK,
                    request_id: user as u32,
                    user: user_id(user),
                    channel: channel_id(self.channels, user, 0),
                    message: (OLD_MESSAGE_HIGH + 1) << 32 | mix(user as u32) as u64,
                };
            }
            let count = (to - from) as usize;
            self.cache.run(&self.block[..count], &mut self.replies[..count * REPLY_STRIDE], &mut self.counts);
            from = to;
        }
        format!(
            r#"{{"prefillMs":{},"records":{},"rssGrowthBytes":{},"hugeBytes":{}}}"#,
            ms(start.elapsed()),
            self.cache.len(),
            rss_bytes() - self.rss_before,
            huge_bytes()
        )
    }

    fn check(&mut self, blocks: usize, mixture: Mixture) -> String {
        let mut stream = Stream::new(mixture, self.channels);
        let mut sum = Checksum(0);
        let before = self.counts;
        for _ in 0..blocks {
            stream.fill(&mut self.block);
            self.cache.run(&self.block, &mut self.replies, &mut self.counts);
            sum.take(&self.replies);
        }
        let (hits, misses) = (self.counts.hits - before.hits, self.counts.misses - before.misses);
        format!(r#"{{"checksum":{},"hits":{hits},"misses":{misses}}}"#, sum.0)
    }

    fn round(&mut self, seconds: f64, mixture: Mixture) -> String {
        let mut stream = match self.stream.take() {
            Some(stream) if stream.mixture == mixture => stream,
            _ => Stream::new(mixture, self.channels),
        };
        let before = self.counts;
        let (mut work, mut longest, mut cpu) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
        let mut operations = 0;
        while work.as_secs_f64() < seconds {
            stream.fill(&mut self.block);
            let cpu_before = cpu_time();
            let start = Instant::now();
            self.cache.run(&self.block, &mut self.replies, &mut self.counts);
            let took = start.elapsed();
            cpu += cpu_time() - cpu_before;
            work += took;
            longest = longest.max(took);
            operations += self.block.len();
        }
        self.stream = Some(stream);
        format!(
            r#"{{"operations":{operations},"workMs":{},"cpuMs":{},"hits":{},"misses":{},"flushedRows":0,"records":{},"gcCount":0,"gcSumMs":0,"gcMaxMs":0,"longestBlockMs":{},"rssBytes":{}}}"#,
            ms(work),
            ms(cpu),
            self.counts.hits - before.hits,
            self.counts.misses - before.misses,
            self.cache.len(),
            ms(longest),
            rss_bytes()
        )
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

/// Of all threads of the process.
fn cpu_time() -> Duration {
    // SAFETY: getrusage fills the struct that it is given, and all zeros is a valid one.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    let us = |time: libc::timeval| Duration::from_micros(time.tv_sec as u64 * 1_000_000 + time.tv_usec as u64);
    us(usage.ru_utime) + us(usage.ru_stime)
}

fn rss_bytes() -> u64 {
    kilobytes_of("/proc/self/status", "VmRSS:")
}

fn huge_bytes() -> u64 {
    kilobytes_of("/proc/self/smaps_rollup", "AnonHugePages:")
}

fn kilobytes_of(file: &str, name: &str) -> u64 {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
}
