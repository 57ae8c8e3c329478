//! A slab by hand: what Tidemark's engine does at its best, without a runtime, and with less to do (an LRU of records,
//! nothing is loaded or flushed). The honest upper bound.
//!
//! Records lie in one array and are linked by index. The index is open addressing with linear probing, one word a
//! bucket: 0 is empty, else the record's number; a removal shifts what follows back, so there are no tombstones. A
//! batch is touched before it runs: its buckets, then its records, then their neighbours in the LRU, so that the
//! processor has many cache misses in flight.

use crate::caches::{Cache, Counts};
use crate::state::{Key, ReadState, reply_unknown};
use crate::stream::{OP_GET, Operation, REPLY_STRIDE};
use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};

const BATCH: usize = 64;

#[derive(Clone, Copy, Default)]
struct Record {
    user: u64,
    channel: u64,
    state: ReadState,
    newer: u32,
    older: u32,
}

/// Record 0 is the head of the LRU: its `older` is the most recent, its `newer` the oldest.
pub struct Slab {
    buckets: Vec<u32>,
    records: Vec<Record>,
    mask: usize,
    used: u32,
}

fn hash(user: u64, channel: u64) -> usize {
    let h = (user ^ channel.rotate_left(32)).wrapping_mul(0x9e3779b97f4a7c15);
    (h ^ (h >> 32)) as usize
}

fn prefetch<T>(place: &T) {
    // SAFETY: a prefetch has no effect on what the program sees, and the address is that of a live value.
    unsafe { _mm_prefetch::<_MM_HINT_T0>((place as *const T).cast()) }
}

impl Slab {
    pub fn new(max: usize) -> Self {
        let buckets = (max * 2).next_power_of_two();
        Self { buckets: vec![0; buckets], records: vec![Record::default(); max + 1], mask: buckets - 1, used: 0 }
    }

    fn find(&self, home: usize, user: u64, channel: u64) -> u32 {
        let mut at = home & self.mask;
        loop {
            let slot = self.buckets[at];
            if slot == 0 {
                return 0;
            }
            let record = &self.records[slot as usize];
            if record.channel == channel && record.user == user {
                return slot;
            }
            at = (at + 1) & self.mask;
        }
    }

    fn unlink(&mut self, slot: u32) {
        let Record { newer, older, .. } = self.records[slot as usize];
        self.records[newer as usize].older = older;
        self.records[older as usize].newer = newer;
    }

    fn link_first(&mut self, slot: u32) {
        let first = self.records[0].older;
        self.records[slot as usize].newer = 0;
        self.records[slot as usize].older = first;
        self.records[first as usize].newer = slot;
        self.records[0].older = slot;
    }

    fn remove_bucket(&mut self, slot: u32) {
        let Record { user, channel, .. } = self.records[slot as usize];
        let mut hole = hash(user, channel) & self.mask;
        while self.buckets[hole] != slot {
            hole = (hole + 1) & self.mask;
        }
        let mut at = hole;
        loop {
            at = (at + 1) & self.mask;
            let next = self.buckets[at];
            if next == 0 {
                break;
            }
            let record = &self.records[next as usize];
            let home = hash(record.user, record.channel) & self.mask;
            if (at.wrapping_sub(home) & self.mask) >= (at.wrapping_sub(hole) & self.mask) {
                self.buckets[hole] = next;
                hole = at;
            }
        }
        self.buckets[hole] = 0;
    }

    fn insert(&mut self, home: usize, user: u64, channel: u64) -> u32 {
        let slot = if (self.used as usize) < self.records.len() - 1 {
            self.used += 1;
            self.used
        } else {
            let oldest = self.records[0].newer;
            self.remove_bucket(oldest);
            self.unlink(oldest);
            oldest
        };
        self.records[slot as usize] = Record { user, channel, ..Record::default() };
        let mut at = home & self.mask;
        while self.buckets[at] != 0 {
            at = (at + 1) & self.mask;
        }
        self.buckets[at] = slot;
        self.link_first(slot);
        slot
    }

    fn touch(&self, block: &[Operation], homes: &mut [usize; BATCH], slots: &mut [u32; BATCH]) {
        for (o, home) in block.iter().zip(homes.iter_mut()) {
            *home = hash(o.user, o.channel);
            prefetch(&self.buckets[*home & self.mask]);
        }
        for (home, slot) in homes.iter().zip(slots.iter_mut()).take(block.len()) {
            *slot = self.buckets[*home & self.mask];
            prefetch(&self.records[*slot as usize]);
        }
        for slot in &slots[..block.len()] {
            let record = &self.records[*slot as usize];
            prefetch(&self.records[record.newer as usize]);
            prefetch(&self.records[record.older as usize]);
        }
    }
}

impl Cache for Slab {
    fn load(&mut self, (user, channel): Key, state: ReadState) {
        let slot = self.insert(hash(user, channel), user, channel);
        self.records[slot as usize].state = state;
    }

    fn run(&mut self, block: &[Operation], replies: &mut [u32], counts: &mut Counts) {
        let mut homes = [0; BATCH];
        let mut slots = [0; BATCH];
        for (batch, out) in block.chunks(BATCH).zip(replies.chunks_mut(BATCH * REPLY_STRIDE)) {
            self.touch(batch, &mut homes, &mut slots);
            for ((o, reply), home) in batch.iter().zip(out.chunks_exact_mut(REPLY_STRIDE)).zip(homes) {
                let slot = self.find(home, o.user, o.channel);
                if slot != 0 {
                    counts.hits += 1;
                    self.records[slot as usize].state.apply(o, false, reply);
                    if self.records[0].older != slot {
                        self.unlink(slot);
                        self.link_first(slot);
                    }
                    continue;
                }
                counts.misses += 1;
                if o.op == OP_GET {
                    reply_unknown(o, reply);
                    continue;
                }
                let slot = self.insert(home, o.user, o.channel);
                self.records[slot as usize].state.apply(o, true, reply);
            }
        }
    }

    fn len(&mut self) -> u64 {
        self.used as u64
    }
}
