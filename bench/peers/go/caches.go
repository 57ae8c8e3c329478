package main

import (
	"container/list"

	"github.com/maypok86/otter/v2"
)

// mapList is a map with container/list, as caches of Go services were written for years.
type mapList struct {
	entries map[key]*list.Element
	recent  *list.List
	max     int
}

type listed struct {
	key   key
	state readState
}

func newMapList(max int) *mapList {
	return &mapList{make(map[key]*list.Element, max), list.New(), max}
}

func (c *mapList) find(k key) *readState {
	element, ok := c.entries[k]
	if !ok {
		return nil
	}
	c.recent.MoveToFront(element)
	return &element.Value.(*listed).state
}

func (c *mapList) insert(k key, s readState) *readState {
	if c.recent.Len() >= c.max {
		oldest := c.recent.Back()
		delete(c.entries, c.recent.Remove(oldest).(*listed).key)
	}
	entry := &listed{k, s}
	c.entries[k] = c.recent.PushFront(entry)
	return &entry.state
}

func (c *mapList) len() int { return c.recent.Len() }

// otterCache holds pointers, so that a state changes in place: the fastest way to use it from one goroutine.
type otterCache struct{ cache *otter.Cache[key, *readState] }

func newOtter(max int) otterCache {
	return otterCache{otter.Must(&otter.Options[key, *readState]{MaximumSize: max, InitialCapacity: max})}
}

func (c otterCache) find(k key) *readState {
	s, _ := c.cache.GetIfPresent(k)
	return s
}

func (c otterCache) insert(k key, s readState) *readState {
	c.cache.Set(k, &s)
	return &s
}

func (c otterCache) len() int { return c.cache.EstimatedSize() }
