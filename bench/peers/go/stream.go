// The operations of the engine benchmark, word for word those of bench/engine-stream.ts: see there.
package main

import "math/bits"

const (
	userHigh       = 0x10000000
	channelHigh    = 0x11000000
	oldMessageHigh = 0x12000000
	messageHigh    = 0x13000000
	ackPercent     = 60
	mentionPercent = 30
	messageLag     = 1024
	blockOps       = 2048

	opGet     = 2
	opAck     = 5
	opMention = 6
)

// mix is the finalizer of murmur3.
func mix(h uint32) uint32 {
	h = (h ^ h>>16) * 0x85ebca6b
	h = (h ^ h>>13) * 0xc2b2ae35
	return h ^ h>>16
}

func fingerprint(message uint64) uint32 {
	lo, hi := uint32(message), uint32(message>>32)
	if h := mix(lo*0x9e3779b1 ^ mix(hi+0x3c6ef372)); h != 0 {
		return h
	}
	return 1
}

// random is mulberry32.
type random struct{ state uint32 }

func (r *random) next() uint32 {
	r.state += 0x6d2b79f5
	t := r.state
	t = (t ^ t>>15) * (t | 1)
	t ^= t + (t^t>>7)*(t|61)
	return t ^ t>>14
}

func (r *random) fraction() float64 { return float64(r.next()) / 4294967296 }

func (r *random) below(limit float64) uint64 { return uint64(float64(r.fraction() * limit)) }

type operation struct {
	op, requestID          uint32
	user, channel, message uint64
}

func userID(user uint64) uint64 { return userHigh<<32 | uint64(mix(uint32(user+1))) }

func channelID(channels, user, channel uint64) uint64 {
	return channelHigh<<32 | uint64(mix(uint32(user*channels+channel+1)))
}

// mixture says which users the operations are about; zipf constants come from the caller, so that no logarithm is
// taken here and all languages choose the same.
type mixture struct {
	users, zetaN, eta, zeta2 float64
	coldPercent              float64
	seed                     uint32
	repeatPercent            float64
}

type stream struct {
	mixture
	random   random
	channels uint64
	made     uint64
	cold     uint64
}

func newStream(m mixture, channels uint64) *stream {
	return &stream{mixture: m, random: random{m.seed}, channels: channels}
}

// Conversions keep the compiler from fusing a product and a sum, which would round differently.
func (s *stream) rank() uint64 {
	u := s.random.fraction()
	uz := float64(u * s.zetaN)
	if uz < 1 {
		return 0
	}
	if uz < s.zeta2 {
		return 1
	}
	t := float64(float64(s.eta*u)-s.eta) + 1
	t2 := t * t
	t4 := t2 * t2
	t8 := t4 * t4
	t16 := t8 * t8
	t32 := t16 * t16
	t64 := t32 * t32
	return min(uint64(float64(s.users*float64(float64(t64*t32)*t4))), uint64(s.users)-1)
}

func (s *stream) pickUser() uint64 {
	if s.coldPercent > 0 && float64(s.random.below(100)) < s.coldPercent {
		s.cold++
		return uint64(s.users) + s.cold - 1
	}
	if s.zetaN > 0 {
		return s.rank()
	}
	return s.random.below(s.users)
}

func (s *stream) fill(block []operation) {
	for i := range block {
		r := &s.random
		if s.repeatPercent > 0 && i > 0 && float64(r.below(100)) < s.repeatPercent {
			block[i] = block[i-1]
			continue
		}
		kind := r.below(100)
		op := uint32(opGet)
		if kind < ackPercent {
			op = opAck
		} else if kind < ackPercent+mentionPercent {
			op = opMention
		}
		user := s.pickUser()
		channel := r.below(float64(s.channels))
		made := s.made
		s.made++
		message := made + r.below(messageLag)
		lo := uint32(message)<<12 | r.next()&0xfff
		id := (messageHigh+message>>20)<<32 | uint64(lo)
		if op == opGet {
			id = 0
		}
		block[i] = operation{op, uint32(made), userID(user), channelID(s.channels, user, channel), id}
	}
}

const replyStride = 13

type checksum uint32

func (c *checksum) add(word uint32) { *c = (*c ^ checksum(word)) * 16777619 }

// take adds what the answers to a block say; versions are left out, since some sides count them by user.
func (c *checksum) take(replies []uint32, count int) {
	for i := range count {
		reply := replies[i*replyStride:]
		c.add(reply[0] >> 8 & 0xff)
		c.add(reply[2])
		if reply[0]&replyEntry != 0 {
			c.add(reply[6])
			c.add(reply[7])
		}
	}
	c.add(uint32(bits.Len(uint(count))))
}
