package limit

// table is a bounded map whose entries are ordered by their last use. Entries are values in a
// slice, linked by index, and keys and values have no pointers, so the garbage collector
// never scans them.
type table[K comparable, V any] struct {
	limit   int
	index   map[K]int32
	entries []entry[K, V]
	first   int32 // the least recently used; -1: none
	last    int32
}

type entry[K comparable, V any] struct {
	key        K
	prev, next int32
	value      V
}

func newTable[K comparable, V any](limit int) table[K, V] {
	return table[K, V]{limit: limit, index: map[K]int32{}, first: -1, last: -1}
}

// get returns the value of a key, or nil. The pointer is valid until the next add.
func (t *table[K, V]) get(key K) *V {
	i, ok := t.index[key]
	if !ok {
		return nil
	}
	return &t.entries[i].value
}

// use is get, and makes the entry the newest.
func (t *table[K, V]) use(key K) *V {
	i, ok := t.index[key]
	if !ok {
		return nil
	}
	if i != t.last {
		t.unlink(i)
		t.append(i)
	}
	return &t.entries[i].value
}

// useOrAdd is use if the key is known, and add otherwise.
func (t *table[K, V]) useOrAdd(key K) *V {
	if v := t.use(key); v != nil {
		return v
	}
	return t.add(key)
}

// oldest returns the value of the least recently used entry, or nil.
func (t *table[K, V]) oldest() *V {
	if t.first < 0 {
		return nil
	}
	return &t.entries[t.first].value
}

func (t *table[K, V]) full() bool { return len(t.entries) >= t.limit }

// add adds a key with the zero value. When t is full it replaces the oldest entry.
func (t *table[K, V]) add(key K) *V {
	var i int32
	if t.full() {
		i = t.first
		t.unlink(i)
		delete(t.index, t.entries[i].key)
		t.entries[i] = entry[K, V]{key: key}
	} else {
		i = int32(len(t.entries))
		t.entries = append(t.entries, entry[K, V]{key: key})
	}
	t.index[key] = i
	t.append(i)
	return &t.entries[i].value
}

func (t *table[K, V]) unlink(i int32) {
	e := &t.entries[i]
	if e.prev < 0 {
		t.first = e.next
	} else {
		t.entries[e.prev].next = e.next
	}
	if e.next < 0 {
		t.last = e.prev
	} else {
		t.entries[e.next].prev = e.prev
	}
}

func (t *table[K, V]) append(i int32) {
	e := &t.entries[i]
	e.prev, e.next = t.last, -1
	if t.last < 0 {
		t.first = i
	} else {
		t.entries[t.last].next = i
	}
	t.last = i
}
