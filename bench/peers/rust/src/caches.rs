//! The caches as a service of one thread would use them. Each runs a whole block, so that calls are compiled into it.

use crate::state::{Key, ReadState, reply_unknown};
use crate::stream::{OP_GET, Operation, REPLY_STRIDE};
use ahash::RandomState;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};

#[derive(Clone, Copy, Default)]
pub struct Counts {
    pub hits: u64,
    pub misses: u64,
}

pub trait Cache {
    fn load(&mut self, key: Key, state: ReadState);
    fn run(&mut self, block: &[Operation], replies: &mut [u32], counts: &mut Counts);
    fn len(&mut self) -> u64;
}

/// The crate `lru` with ahash: strict, in place.
pub struct Lru(lru::LruCache<Key, ReadState, RandomState>);

impl Lru {
    pub fn new(max: usize) -> Self {
        Self(lru::LruCache::with_hasher(NonZeroUsize::new(max).unwrap(), RandomState::with_seeds(1, 2, 3, 4)))
    }
}

impl Cache for Lru {
    fn load(&mut self, key: Key, state: ReadState) {
        self.0.put(key, state);
    }

    fn run(&mut self, block: &[Operation], replies: &mut [u32], counts: &mut Counts) {
        for (o, reply) in block.iter().zip(replies.chunks_exact_mut(REPLY_STRIDE)) {
            let key = (o.user, o.channel);
            if let Some(state) = self.0.get_mut(&key) {
                counts.hits += 1;
                state.apply(o, false, reply);
                continue;
            }
            counts.misses += 1;
            if o.op == OP_GET {
                reply_unknown(o, reply);
                continue;
            }
            let mut state = ReadState::default();
            state.apply(o, true, reply);
            self.0.put(key, state);
        }
    }

    fn len(&mut self) -> u64 {
        self.0.len() as u64
    }
}

/// `quick_cache::unsync`: S3-FIFO-like, in place, one thread.
pub struct Quick(quick_cache::unsync::Cache<Key, ReadState, quick_cache::UnitWeighter, RandomState>);

impl Quick {
    pub fn new(max: usize) -> Self {
        let hasher = RandomState::with_seeds(1, 2, 3, 4);
        let life = quick_cache::unsync::DefaultLifecycle::default();
        Self(quick_cache::unsync::Cache::with(max, max as u64, quick_cache::UnitWeighter, hasher, life))
    }
}

impl Cache for Quick {
    fn load(&mut self, key: Key, state: ReadState) {
        self.0.insert(key, state);
    }

    fn run(&mut self, block: &[Operation], replies: &mut [u32], counts: &mut Counts) {
        for (o, reply) in block.iter().zip(replies.chunks_exact_mut(REPLY_STRIDE)) {
            let key = (o.user, o.channel);
            if let Some(mut state) = self.0.get_mut(&key) {
                counts.hits += 1;
                state.apply(o, false, reply);
                continue;
            }
            counts.misses += 1;
            if o.op == OP_GET {
                reply_unknown(o, reply);
                continue;
            }
            let mut state = ReadState::default();
            state.apply(o, true, reply);
            self.0.insert(key, state);
        }
    }

    fn len(&mut self) -> u64 {
        self.0.len() as u64
    }
}

/// `moka::sync` is for many threads; a state changes in place behind a lock of its own, which nobody contends for.
pub struct Moka(moka::sync::Cache<Key, Arc<Mutex<ReadState>>, RandomState>);

impl Moka {
    pub fn new(max: usize) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(max as u64).initial_capacity(max);
        Self(builder.build_with_hasher(RandomState::with_seeds(1, 2, 3, 4)))
    }
}

impl Cache for Moka {
    fn load(&mut self, key: Key, state: ReadState) {
        self.0.insert(key, Arc::new(Mutex::new(state)));
    }

    fn run(&mut self, block: &[Operation], replies: &mut [u32], counts: &mut Counts) {
        for (o, reply) in block.iter().zip(replies.chunks_exact_mut(REPLY_STRIDE)) {
            let key = (o.user, o.channel);
            if let Some(state) = self.0.get(&key) {
                counts.hits += 1;
                state.lock().unwrap().apply(o, false, reply);
                continue;
            }
            counts.misses += 1;
            if o.op == OP_GET {
                reply_unknown(o, reply);
                continue;
            }
            let mut state = ReadState::default();
            state.apply(o, true, reply);
            self.0.insert(key, Arc::new(Mutex::new(state)));
        }
    }

    fn len(&mut self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}
