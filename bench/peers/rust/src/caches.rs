//! The caches as a service of one thread would use them. A block is run by code that is compiled for the cache.

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

/// A cache whose entries change in place.
trait InPlace {
    /// Calls `change` with the state of the key, which is then the most recently used; false if there is none.
    fn update(&mut self, key: &Key, change: impl FnOnce(&mut ReadState)) -> bool;
    fn put(&mut self, key: Key, state: ReadState);
    fn count(&mut self) -> u64;
}

impl<C: InPlace> Cache for C {
    fn load(&mut self, key: Key, state: ReadState) {
        self.put(key, state);
    }

    fn run(&mut self, block: &[Operation], replies: &mut [u32], counts: &mut Counts) {
        for (o, reply) in block.iter().zip(replies.chunks_exact_mut(REPLY_STRIDE)) {
            let key = (o.user, o.channel);
            if self.update(&key, |state| state.apply(o, false, reply)) {
                counts.hits += 1;
                continue;
            }
            counts.misses += 1;
            if o.op == OP_GET {
                reply_unknown(o, reply);
                continue;
            }
            let mut state = ReadState::default();
            state.apply(o, true, reply);
            self.put(key, state);
        }
    }

    fn len(&mut self) -> u64 {
        self.count()
    }
}

fn hasher() -> RandomState {
    RandomState::with_seeds(1, 2, 3, 4)
}

/// The crate `lru` with ahash: strict.
pub struct Lru(lru::LruCache<Key, ReadState, RandomState>);

impl Lru {
    pub fn new(max: usize) -> Self {
        Self(lru::LruCache::with_hasher(NonZeroUsize::new(max).unwrap(), hasher()))
    }
}

impl InPlace for Lru {
    fn update(&mut self, key: &Key, change: impl FnOnce(&mut ReadState)) -> bool {
        self.0.get_mut(key).map(change).is_some()
    }

    fn put(&mut self, key: Key, state: ReadState) {
        self.0.put(key, state);
    }

    fn count(&mut self) -> u64 {
        self.0.len() as u64
    }
}

/// `quick_cache::unsync`: for one thread, not strict.
pub struct Quick(quick_cache::unsync::Cache<Key, ReadState, quick_cache::UnitWeighter, RandomState>);

impl Quick {
    pub fn new(max: usize) -> Self {
        let life = quick_cache::unsync::DefaultLifecycle::default();
        Self(quick_cache::unsync::Cache::with(max, max as u64, quick_cache::UnitWeighter, hasher(), life))
    }
}

impl InPlace for Quick {
    fn update(&mut self, key: &Key, change: impl FnOnce(&mut ReadState)) -> bool {
        self.0.get_mut(key).map(|mut state| change(&mut state)).is_some()
    }

    fn put(&mut self, key: Key, state: ReadState) {
        self.0.insert(key, state);
    }

    fn count(&mut self) -> u64 {
        self.0.len() as u64
    }
}

/// `moka::sync` is for many threads; a state changes in place behind a lock of its own, which nobody contends for.
pub struct Moka(moka::sync::Cache<Key, Arc<Mutex<ReadState>>, RandomState>);

impl Moka {
    pub fn new(max: usize) -> Self {
        let builder = moka::sync::Cache::builder().max_capacity(max as u64).initial_capacity(max);
        Self(builder.build_with_hasher(hasher()))
    }
}

impl InPlace for Moka {
    fn update(&mut self, key: &Key, change: impl FnOnce(&mut ReadState)) -> bool {
        self.0.get(key).map(|state| change(&mut state.lock().unwrap())).is_some()
    }

    fn put(&mut self, key: Key, state: ReadState) {
        self.0.insert(key, Arc::new(Mutex::new(state)));
    }

    fn count(&mut self) -> u64 {
        self.0.run_pending_tasks();
        self.0.entry_count()
    }
}
