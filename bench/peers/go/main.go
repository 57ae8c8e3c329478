// Peers of the engine benchmark in Go: `peers SIDE RECORDS CHANNELS`, then orders on standard input, one answer a line
// (bench/suite/peer-process.ts):
//
//	fill USERS                                                    loads users, answers what it took
//	check BLOCKS USERS ZETAN ETA ZETA2 COLD SEED REPEAT           a checksum of the answers
//	round SECONDS USERS ZETAN ETA ZETA2 COLD SEED REPEAT          a measured round
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

type peer struct {
	cache    cache
	channels uint64
	counts   counts
	stream   *stream
	block    []operation
	replies  []uint32
}

func main() {
	records, _ := strconv.Atoi(os.Args[2])
	channels, _ := strconv.ParseUint(os.Args[3], 10, 64)
	before := rssBytes()
	p := &peer{channels: channels, block: make([]operation, blockOps), replies: make([]uint32, blockOps*replyStride)}
	switch os.Args[1] {
	case "go-map-list":
		p.cache = newMapList(records)
	case "go-otter":
		p.cache = newOtter(records)
	default:
		fmt.Fprintf(os.Stderr, "no side %s\n", os.Args[1])
		os.Exit(1)
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		numbers := make([]float64, len(words)-1)
		for i, word := range words[1:] {
			numbers[i], _ = strconv.ParseFloat(word, 64)
		}
		var answer any
		switch words[0] {
		case "fill":
			answer = p.fill(uint64(numbers[0]), before)
		case "check":
			answer = p.check(int(numbers[0]), mixtureOf(numbers[1:]))
		case "round":
			answer = p.round(numbers[0], mixtureOf(numbers[1:]))
		}
		text, _ := json.Marshal(answer)
		fmt.Println(string(text))
	}
}

func mixtureOf(n []float64) mixture {
	return mixture{n[0], n[1], n[2], n[3], n[4], uint32(n[5]), n[6]}
}

func (p *peer) fill(users uint64, before uint64) map[string]any {
	start := time.Now()
	for from := uint64(0); from < users; from += blockOps {
		to := min(from+blockOps, users)
		for user := from; user < to; user++ {
			for channel := range p.channels {
				k := key{userID(user), channelID(p.channels, user, channel)}
				message := oldMessageHigh<<32 | uint64(mix(uint32(channel+1)))
				p.cache.insert(k, readState{message: message, version: uint32(channel + 1)})
			}
		}
		for user := from; user < to; user++ {
			message := (oldMessageHigh+1)<<32 | uint64(mix(uint32(user)))
			p.block[user-from] = operation{opAck, uint32(user), userID(user), channelID(p.channels, user, 0), message}
		}
		run(p.cache, p.block[:to-from], p.replies, &p.counts)
	}
	fillMs := ms(time.Since(start))
	runtime.GC()
	return map[string]any{
		"prefillMs": fillMs, "records": p.cache.len(), "rssGrowthBytes": rssBytes() - before, "hugeBytes": hugeBytes(),
	}
}

func (p *peer) check(blocks int, m mixture) map[string]any {
	s := newStream(m, p.channels)
	var sum checksum
	before := p.counts
	for range blocks {
		s.fill(p.block)
		run(p.cache, p.block, p.replies, &p.counts)
		sum.take(p.replies, blockOps)
	}
	hits, misses := p.counts.hits-before.hits, p.counts.misses-before.misses
	return map[string]any{"checksum": uint32(sum), "hits": hits, "misses": misses}
}

func (p *peer) round(seconds float64, m mixture) map[string]any {
	if p.stream == nil || p.stream.mixture != m {
		p.stream = newStream(m, p.channels)
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	collections := stats.NumGC
	before := p.counts
	var work, longest, cpu time.Duration
	operations := 0
	for work.Seconds() < seconds {
		p.stream.fill(p.block)
		cpuBefore := cpuTime()
		start := time.Now()
		run(p.cache, p.block, p.replies, &p.counts)
		took := time.Since(start)
		cpu += cpuTime() - cpuBefore
		work += took
		longest = max(longest, took)
		operations += blockOps
	}
	runtime.ReadMemStats(&stats)
	pause, pauses := uint64(0), uint64(0)
	for i := collections; i < stats.NumGC; i++ {
		pause = max(pause, stats.PauseNs[i%256])
		pauses += stats.PauseNs[i%256]
	}
	return map[string]any{
		"operations": operations, "workMs": ms(work), "cpuMs": ms(cpu),
		"hits": p.counts.hits - before.hits, "misses": p.counts.misses - before.misses, "flushedRows": 0,
		"records": p.cache.len(), "gcCount": stats.NumGC - collections, "gcSumMs": float64(pauses) / 1e6,
		"gcMaxMs": float64(pause) / 1e6, "longestBlockMs": ms(longest), "rssBytes": rssBytes(),
	}
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func cpuTime() time.Duration {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func rssBytes() uint64 {
	text, _ := os.ReadFile("/proc/self/statm")
	pages, _ := strconv.ParseUint(strings.Fields(string(text))[1], 10, 64)
	return pages * uint64(os.Getpagesize())
}

func hugeBytes() uint64 {
	text, _ := os.ReadFile("/proc/self/smaps_rollup")
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "AnonHugePages:"); ok {
			kilobytes, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
			return kilobytes << 10
		}
	}
	return 0
}
