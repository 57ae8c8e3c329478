//! A read state and what operations do to it: as in bench/peers-lru-cache.ts.

use crate::stream::{OP_ACK, OP_MENTION, Operation, fingerprint};

const STATUS_UNKNOWN: u32 = 2;
const STATUS_SUPPRESSED: u32 = 3;
const STATUS_DUPLICATE: u32 = 4;
pub const REPLY_ENTRY: u32 = 1 << 16;
const REPLY_CHANGED: u32 = 1 << 19;

pub type Key = (u64, u64);

#[derive(Clone, Copy, Default)]
pub struct ReadState {
    pub message: u64,
    pub pin_ms: u64,
    pub mention_count: u32,
    pub version: u32,
    pub fingerprint: u32,
    pub meta: u32,
}

impl ReadState {
    /// Runs an operation on a state that was found or made, and writes the answer.
    pub fn apply(&mut self, o: &Operation, is_new: bool, reply: &mut [u32]) {
        let (mut status, mut flags) = (0, 0);
        if o.op == OP_ACK {
            if is_new || o.message > self.message || o.message == self.message && self.mention_count > 0 {
                self.message = o.message;
                self.mention_count = 0;
                flags = REPLY_CHANGED;
            }
        } else if o.op == OP_MENTION {
            let print = fingerprint(o.message);
            if !is_new && self.message >= o.message {
                status = STATUS_SUPPRESSED;
            } else if self.fingerprint == print {
                status = STATUS_DUPLICATE;
            } else {
                self.fingerprint = print;
                self.mention_count += 1;
                flags = REPLY_CHANGED;
            }
        } else {
            flags = REPLY_ENTRY;
            reply[4] = o.channel as u32;
            reply[5] = (o.channel >> 32) as u32;
            reply[6] = self.message as u32;
            reply[7] = (self.message >> 32) as u32;
            reply[8] = self.mention_count;
            reply[9] = self.meta;
            reply[10] = self.version;
            reply[11] = self.pin_ms as u32;
            reply[12] = (self.pin_ms >> 32) as u32;
        }
        if flags == REPLY_CHANGED {
            self.version += 1;
        }
        reply[0] = o.op | status << 8 | flags;
        reply[1] = o.request_id;
        reply[2] = self.mention_count;
        reply[3] = self.version;
    }
}

pub fn reply_unknown(o: &Operation, reply: &mut [u32]) {
    reply[0] = o.op | STATUS_UNKNOWN << 8;
    reply[1] = o.request_id;
    reply[2] = 0;
    reply[3] = 0;
}
