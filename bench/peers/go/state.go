// A read state and what operations do to it: as in bench/peers-lru-cache.ts.
package main

const (
	statusUnknown    = 2
	statusSuppressed = 3
	statusDuplicate  = 4
	replyEntry       = 1 << 16
	replyChanged     = 1 << 19
)

type key struct{ user, channel uint64 }

type readState struct {
	message      uint64
	pinMs        uint64
	mentionCount uint32
	version      uint32
	fingerprint  uint32
	meta         uint32
}

// apply runs an operation on a state that was found or made, and writes the answer.
func (s *readState) apply(o *operation, isNew bool, reply []uint32) {
	status, flags := uint32(0), uint32(0)
	switch o.op {
	case opAck:
		if isNew || o.message > s.message || o.message == s.message && s.mentionCount > 0 {
			s.message = o.message
			s.mentionCount = 0
			flags = replyChanged
		}
	case opMention:
		print := fingerprint(o.message)
		if !isNew && s.message >= o.message {
			status = statusSuppressed
		} else if s.fingerprint == print {
			status = statusDuplicate
		} else {
			s.fingerprint = print
			s.mentionCount++
			flags = replyChanged
		}
	default:
		flags = replyEntry
		entry := reply[4:13]
		entry[0], entry[1] = uint32(o.channel), uint32(o.channel>>32)
		entry[2], entry[3] = uint32(s.message), uint32(s.message>>32)
		entry[4], entry[5], entry[6] = s.mentionCount, s.meta, s.version
		entry[7], entry[8] = uint32(s.pinMs), uint32(s.pinMs>>32)
	}
	if flags == replyChanged {
		s.version++
	}
	reply[0] = o.op | status<<8 | flags
	reply[1] = o.requestID
	reply[2] = s.mentionCount
	reply[3] = s.version
}

func replyUnknown(o *operation, reply []uint32) {
	reply[0] = o.op | statusUnknown<<8
	reply[1], reply[2], reply[3] = o.requestID, 0, 0
}

type cache interface {
	// find also makes the entry the most recently used.
	find(k key) *readState
	insert(k key, s readState) *readState
	len() int
}

type counts struct{ hits, misses uint64 }

func run(c cache, block []operation, replies []uint32, n *counts) {
	for i := range block {
		o := &block[i]
		reply := replies[i*replyStride : (i+1)*replyStride]
		k := key{o.user, o.channel}
		if s := c.find(k); s != nil {
			n.hits++
			s.apply(o, false, reply)
			continue
		}
		n.misses++
		if o.op == opGet {
			replyUnknown(o, reply)
			continue
		}
		c.insert(k, readState{}).apply(o, true, reply)
	}
}
