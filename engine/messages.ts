/**
 * What travels in rings and frames: word layouts of requests, replies, events and of the traffic between
 * shards and persister. The wire (`docs/protocol.md`) and the rings share the operation's words, so that the
 * front copies words and never decodes. All words are 32 bits, little-endian; a 64-bit id is two words, low first.
 */
import { layout } from './layout.js';

/** Operations, the lowest byte of an operation's first word. */
export const OP_PING = 1;
export const OP_GET = 2;
export const OP_LIST = 3;
export const OP_BADGE = 4;
export const OP_ACK = 5;
export const OP_MENTION = 6;
export const OP_PIN_ACK = 7;
export const OP_DELETE = 8;
export const OP_DELETE_USER = 9;
export const OP_ACK_BULK = 10;
export const OP_SUBSCRIBE = 11;
export const OP_UNSUBSCRIBE = 12;
export const OP_MAX = 12;
/** In the operation's place of a message that nobody asked for. */
export const OP_EVENT = 0x80;
export const OP_USER_DELETED = 0x81;

/** An operation as a client sends it. First word: `op:8 type:8 flags:16`. */
export const REQUEST = layout({
  HEAD: 1,
  REQUEST_ID: 1, // the caller's, echoed
  USER_LO: 1,
  USER_HI: 1,
  CHANNEL_LO: 1, // ack_bulk: the number of items
  CHANNEL_HI: 1,
  ARGUMENT_LO: 1, // ack, mention: message id (mention: 0 = none); pin_ack: ms since 1970; list: since version
  ARGUMENT_HI: 1,
});
/** Two more words of an ack that has one of REQUEST_HAS_*. */
export const ACK_EXTRA = layout({
  MENTION_COUNT: 1, // 0 to 2^31-1
  ENTRY_META: 1, // flags and viewed at META_FLAGS_SHIFT and META_VIEWED_SHIFT
});
/** One item of an ack_bulk, after REQUEST.WORDS words. */
export const BULK_ITEM = layout({ CHANNEL_LO: 1, CHANNEL_HI: 1, MESSAGE_LO: 1, MESSAGE_HI: 1, TYPE: 1 });
export const BULK_ITEMS_MAX = 100;
export const REQUEST_WORDS_MAX = REQUEST.WORDS + BULK_ITEMS_MAX * BULK_ITEM.WORDS;

/** Request flags, bits of HEAD. */
export const REQUEST_MANUAL = 1 << 16; // ack: set mark and count exactly, also backwards
export const REQUEST_WITH_ENTRY = 1 << 17; // the answer carries the entry
export const REQUEST_HAS_COUNT = 1 << 18;
export const REQUEST_HAS_FLAGS = 1 << 19;
export const REQUEST_HAS_VIEWED = 1 << 20;
export const REQUEST_HAS_EXTRA = REQUEST_HAS_COUNT | REQUEST_HAS_FLAGS | REQUEST_HAS_VIEWED;
export const REQUEST_SINCE = 1 << 21; // list: only what changed after the version in ARGUMENT_LO

/** An answer. First word: `op:8 status:8 flags:16`. */
export const REPLY = layout({
  HEAD: 1,
  REQUEST_ID: 1,
  MENTION_COUNT: 1, // of the entry; list: entries in this part; badge: all mentions; invalid: a FIELD_*
  VERSION: 1, // of the entry; list: of the user; badge: channels with mentions
});
export const REPLY_ENTRY = 1 << 16; // ENTRY.WORDS follow (list, ack_bulk: MENTION_COUNT entries)
export const REPLY_MORE = 1 << 17; // a part of a list or bulk answer; another follows
export const REPLY_PARTIAL = 1 << 18; // list: only what changed since
export const REPLY_CHANGED = 1 << 19; // the call changed something

/** One entry as it is sent. */
export const ENTRY = layout({
  CHANNEL_LO: 1,
  CHANNEL_HI: 1,
  MESSAGE_LO: 1, // 0 = null
  MESSAGE_HI: 1,
  MENTION_COUNT: 1,
  META: 1, // type, flags, viewed: META_ENTRY_MASK
  VERSION: 1,
  PIN_LO: 1, // ms since 1970, 0 = null
  PIN_HI: 1,
});
/** Entries in one part of a list: a part is at most this many, so that nobody waits for a long list. */
export const LIST_PART_ENTRIES = 128;
export const REPLY_WORDS_MAX = REPLY.WORDS + LIST_PART_ENTRIES * ENTRY.WORDS;

/** An event. First word: `op:8 cause:8 flags:16` (REQUEST_MANUAL); then the user, then an ENTRY (not in USER_DELETED). */
export const EVENT = layout({ HEAD: 1, VERSION: 1, USER_LO: 1, USER_HI: 1 });
export const EVENT_WORDS_MAX = EVENT.WORDS + ENTRY.WORDS;
export const CAUSE_ACK = 1;
export const CAUSE_MENTION = 2;
export const CAUSE_PINS = 3;
export const CAUSE_DELETE = 4;

/** Statuses, the second byte of an answer. */
export const STATUS_OK = 0;
export const STATUS_INVALID = 1;
export const STATUS_UNKNOWN = 2; // unknown_read_state
export const STATUS_SUPPRESSED = 3; // mention: already read
export const STATUS_DUPLICATE = 4; // mention: counted before
export const STATUS_BUSY = 5;
export const STATUS_STORE_UNAVAILABLE = 6;
export const STATUS_JOURNAL_UNAVAILABLE = 7;
export const STATUS_INTERNAL = 8; // threads ended in it: a bug

/** Which field an invalid operation is about. */
export const FIELD_OP = 1;
export const FIELD_TYPE = 2;
export const FIELD_USER = 3;
export const FIELD_CHANNEL = 4;
export const FIELD_MESSAGE = 5;
export const FIELD_COUNT = 6;
export const FIELD_FLAGS = 7;
export const FIELD_VIEWED = 8;
export const FIELD_PIN = 9;
export const FIELD_ITEMS = 10;
export const FIELD_LENGTH = 11;
export const FIELD_SINCE = 12;

export const TYPE_MAX = 5;

/** What the front puts before an operation in a request ring; the ring's own length word is not counted. */
export const ROUTED = layout({
  ROUTE: 1, // whom the answer is for; the shard echoes it and does not look
  USER_HASH: 1,
  STAMP_US: 1, // when it went in: microseconds of a clock that all threads share, 32 bits, wraps
});
/** What the shard puts before an answer or event in a reply ring. */
export const ANSWERED = layout({ ROUTE: 1 });
/** The route of events. */
export const ROUTE_EVENT = 0;

// ---- shard and persister ------------------------------------------------------------------------------------

/** Kinds of messages between a shard and the persister, the lowest byte of the first word. */
export const KIND_LOAD_USER = 1; // all rows of a user, in (channel, type) order, in parts
export const KIND_LOAD_ROWS = 2; // the named rows, and the user row
export const KIND_FLUSH = 3;
export const KIND_LOADED = 4;
export const KIND_FLUSHED = 5;

/** A load; KIND_LOAD_ROWS is followed by COUNT keys. TAG is echoed. COUNT 0 reads the user row alone. */
export const LOAD = layout({ KIND: 1, TAG: 1, USER_LO: 1, USER_HI: 1, COUNT: 1 });
export const LOAD_KEY = layout({ CHANNEL_LO: 1, CHANNEL_HI: 1, TYPE: 1 });

/** A row as it is stored: the entry and what belongs to it. */
export const ROW = layout({ ENTRY: ENTRY.WORDS, FINGERPRINT: 1 });

/** A part of what was loaded, followed by COUNT rows. KIND word: `kind:8 status:8 flags:16`. */
export const LOADED = layout({ KIND: 1, TAG: 1, VERSION: 1, DELETED_VERSION: 1, COUNT: 1 });
export const LOADED_LAST = 1 << 16; // no more parts follow; a status other than OK is always last
export const LOAD_PART_ROWS = 128;

/**
 * One group of writes, all of one user, to be stored whole or not at all, followed by COUNT rows.
 * Absolute values: writing it twice does no harm. KIND word: `kind:8 0:8 flags:16`.
 */
export const FLUSH = layout({
  KIND: 1,
  PARTITION: 1, // echoed
  USER_SLOT: 1, // echoed
  USER_LO: 1,
  USER_HI: 1,
  VERSION: 1,
  DELETED_VERSION: 1,
  CLOCK_LO: 1, // microseconds since 1970, strictly growing in each partition
  CLOCK_HI: 1,
  COUNT: 1,
});
export const FLUSH_WIPE = 1 << 16; // drop all rows of the user that are older than CLOCK, then write the rows
export const FLUSH_ROW = layout({ SLOT: 1, ROW: ROW.WORDS }); // SLOT is echoed; META_DELETED in the META: delete the row
export const FLUSH_ROWS_MAX = 100;
/** The confirmation, followed by COUNT slots. KIND word: `kind:8 status:8 flags:16` with the flags of the flush. */
export const FLUSHED = layout({ KIND: 1, PARTITION: 1, USER_SLOT: 1, COUNT: 1 });
export const STORE_WORDS_MAX = Math.max(
  FLUSH.WORDS + FLUSH_ROWS_MAX * FLUSH_ROW.WORDS,
  LOADED.WORDS + LOAD_PART_ROWS * ROW.WORDS,
);

// ---- journal --------------------------------------------------------------------------------------------------

/**
 * One change as the journal keeps it. META may carry META_DELETED (the row is deleted) or META_WIPE (all rows of the
 * user with a lower version are dropped; the channel words are 0). ROW's VERSION is the row's own; USER_VERSION is the
 * user's when the image was written, which may be higher: what a replay saves of a user must not lower it.
 */
export const IMAGE = layout({ USER_LO: 1, USER_HI: 1, USER_VERSION: 1, ROW: ROW.WORDS });
