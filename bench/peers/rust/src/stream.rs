//! The operations of the engine benchmark, word for word those of bench/engine-stream.ts: see there.

const USER_HIGH: u64 = 0x10000000;
const CHANNEL_HIGH: u64 = 0x11000000;
pub const OLD_MESSAGE_HIGH: u64 = 0x12000000;
const MESSAGE_HIGH: u64 = 0x13000000;
const ACK_PERCENT: u64 = 60;
const MENTION_PERCENT: u64 = 30;
const MESSAGE_LAG: f64 = 1024.0;
pub const BLOCK_OPERATIONS: usize = 2048;
pub const REPLY_STRIDE: usize = 13;

pub const OP_GET: u32 = 2;
pub const OP_ACK: u32 = 5;
pub const OP_MENTION: u32 = 6;

/// The finalizer of murmur3.
pub fn mix(mut h: u32) -> u32 {
    h = (h ^ (h >> 16)).wrapping_mul(0x85ebca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2ae35);
    h ^ (h >> 16)
}

pub fn fingerprint(message: u64) -> u32 {
    let (lo, hi) = (message as u32, (message >> 32) as u32);
    match mix(lo.wrapping_mul(0x9e3779b1) ^ mix(hi.wrapping_add(0x3c6ef372))) {
        0 => 1,
        h => h,
    }
}

/// mulberry32
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x6d2b79f5);
        let mut t = self.0;
        t = (t ^ (t >> 15)).wrapping_mul(t | 1);
        t ^= t.wrapping_add((t ^ (t >> 7)).wrapping_mul(t | 61));
        t ^ (t >> 14)
    }

    fn fraction(&mut self) -> f64 {
        self.next() as f64 / 4294967296.0
    }

    fn below(&mut self, limit: f64) -> u64 {
        (self.fraction() * limit) as u64
    }
}

#[derive(Clone, Copy, Default)]
pub struct Operation {
    pub op: u32,
    pub request_id: u32,
    pub user: u64,
    pub channel: u64,
    pub message: u64,
}

pub fn user_id(user: u64) -> u64 {
    USER_HIGH << 32 | mix((user + 1) as u32) as u64
}

pub fn channel_id(channels: u64, user: u64, channel: u64) -> u64 {
    CHANNEL_HIGH << 32 | mix((user * channels + channel + 1) as u32) as u64
}

/// Which users the operations are about. The constants of zipf come from the caller, so that no logarithm is taken
/// here and all languages choose the same.
#[derive(Clone, Copy, PartialEq)]
pub struct Mixture {
    pub users: f64,
    pub zeta_n: f64,
    pub eta: f64,
    pub zeta_2: f64,
    pub cold_percent: f64,
    pub seed: f64,
    pub repeat_percent: f64,
}

pub struct Stream {
    pub mixture: Mixture,
    random: Random,
    channels: u64,
    made: u64,
    cold: u64,
}

impl Stream {
    pub fn new(mixture: Mixture, channels: u64) -> Self {
        Self { mixture, random: Random(mixture.seed as u32), channels, made: 0, cold: 0 }
    }

    fn rank(&mut self) -> u64 {
        let m = self.mixture;
        let u = self.random.fraction();
        let uz = u * m.zeta_n;
        if uz < 1.0 {
            return 0;
        }
        if uz < m.zeta_2 {
            return 1;
        }
        let t = m.eta * u - m.eta + 1.0;
        let t2 = t * t;
        let t4 = t2 * t2;
        let t8 = t4 * t4;
        let t16 = t8 * t8;
        let t32 = t16 * t16;
        let t64 = t32 * t32;
        ((m.users * (t64 * t32 * t4)) as u64).min(m.users as u64 - 1)
    }

    fn pick_user(&mut self) -> u64 {
        let m = self.mixture;
        if m.cold_percent > 0.0 && (self.random.below(100.0) as f64) < m.cold_percent {
            self.cold += 1;
            return m.users as u64 + self.cold - 1;
        }
        if m.zeta_n > 0.0 { self.rank() } else { self.random.below(m.users) }
    }

    pub fn fill(&mut self, block: &mut [Operation]) {
        for i in 0..block.len() {
            let repeat = self.mixture.repeat_percent;
            if repeat > 0.0 && i > 0 && (self.random.below(100.0) as f64) < repeat {
                block[i] = block[i - 1];
                continue;
            }
            let kind = self.random.below(100.0);
            let op = match kind {
                k if k < ACK_PERCENT => OP_ACK,
                k if k < ACK_PERCENT + MENTION_PERCENT => OP_MENTION,
                _ => OP_GET,
            };
            let user = self.pick_user();
            let channel = self.random.below(self.channels as f64);
            let made = self.made;
            self.made += 1;
            let number = made + self.random.below(MESSAGE_LAG);
            let low = (number as u32) << 12 | self.random.next() & 0xfff;
            let message = if op == OP_GET { 0 } else { (MESSAGE_HIGH + (number >> 20)) << 32 | low as u64 };
            block[i] = Operation {
                op,
                request_id: made as u32,
                user: user_id(user),
                channel: channel_id(self.channels, user, channel),
                message,
            };
        }
    }
}

pub struct Checksum(pub u32);

impl Checksum {
    fn add(&mut self, word: u32) {
        self.0 = (self.0 ^ word).wrapping_mul(16777619);
    }

    /// Adds what the answers to a block say; versions are left out, since some sides count them by user.
    pub fn take(&mut self, replies: &[u32]) {
        for reply in replies.chunks_exact(REPLY_STRIDE) {
            self.add(reply[0] >> 8 & 0xff);
            self.add(reply[2]);
            if reply[0] & crate::state::REPLY_ENTRY != 0 {
                self.add(reply[6]);
                self.add(reply[7]);
            }
        }
        self.add(u32::BITS - ((replies.len() / REPLY_STRIDE) as u32).leading_zeros());
    }
}
