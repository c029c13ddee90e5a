package main

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
)

// Spool is a queue of records in files, for when the stream takes less than arrives.
// Append and Next may be called at the same time. One goroutine calls Next and Ack.
//
// A record is removed some time after Ack: a process that starts finds the unread
// records of the earlier one, and up to a segment of records that were read.
type Spool struct {
	cfg  SpoolConfig
	dir  string
	sync Sync
	log  *slog.Logger

	records atomic.Int64 // not acknowledged
	bytes   atomic.Int64 // of all files
	torn    int64        // that recovery has cut off
	wake    chan struct{}

	mu       sync.Mutex
	segments []*segment // oldest first
	active   *segment   // the last of them, unless it takes no more
	at       int64      // where Next goes on in the first of them
	last     uint64     // number of a segment
	dirty    bool       // written since the last Sync
	buf      []byte     // for Append
	closed   bool
}

// errSpoolFull means that there was no room for all records.
var errSpoolFull = errors.New("the spool is full")

// openSpool opens the spool in dir, which is made if there is none, and recovers what
// an earlier process has left. The caller has made sure that no other process uses dir.
func openSpool(dir string, cfg SpoolConfig, sync Sync, log *slog.Logger) (*Spool, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	paths, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	if err != nil {
		return nil, err
	}
	s := &Spool{cfg: cfg, dir: dir, sync: sync, log: log, wake: make(chan struct{}, 1), at: int64(len(segmentMagic))}
	for _, path := range paths {
		seg, torn, err := openSegment(path)
		if err != nil {
			return nil, errors.Join(err, s.Close())
		}
		if torn > 0 {
			log.Warn("a record at the end of a segment was not complete", "file", path, "bytes", torn)
		}
		s.torn += torn
		s.last = max(s.last, seg.number)
		if seg.records == 0 {
			if err := seg.remove(); err != nil {
				return nil, errors.Join(err, s.Close())
			}
			continue
		}
		s.segments = append(s.segments, seg)
		s.records.Add(int64(seg.records))
		s.bytes.Add(seg.size)
	}
	slices.SortFunc(s.segments, func(a, b *segment) int { return cmp.Compare(a.number, b.number) })
	if len(s.segments) > 0 {
		wakeUp(s.wake)
	}
	return s, nil
}

// Pending reports whether there are records.
func (s *Spool) Pending() bool { return s.records.Load() > 0 }

// Append writes records, in this order, and returns how many: with errSpoolFull, or
// another error, not all of them. With Sync.Always they are on the disk.
func (s *Spool) Append(records []Record) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return 0, os.ErrClosed
	}
	for n < len(records) && err == nil {
		var k int
		k, err = s.write(records[n:])
		n += k
	}
	if n > 0 && s.sync.Always {
		// What was written stays: it may get to the disk nevertheless, and a second copy
		// has the same id.
		if e := s.flush(); e != nil {
			return 0, e
		}
	}
	return n, err
}

// write appends as many records as one segment takes, in one system call.
func (s *Spool) write(records []Record) (n int, err error) {
	if s.active != nil && s.active.size >= int64(s.cfg.SegmentBytes) {
		if s.sync != (Sync{}) { // later the active one is another
			if err := s.flush(); err != nil {
				return 0, err
			}
		}
		s.active = nil
	}
	if s.active == nil {
		if s.bytes.Load()+int64(len(segmentMagic)) >= int64(s.cfg.MaxBytes) {
			return 0, errSpoolFull
		}
		if err := s.create(); err != nil {
			return 0, err
		}
	}
	seg := s.active
	s.buf = s.buf[:0]
	full := false
	for n < len(records) && seg.size+int64(len(s.buf)) < int64(s.cfg.SegmentBytes) {
		before := len(s.buf)
		s.buf = appendFrame(s.buf, &records[n])
		if s.bytes.Load()+int64(len(s.buf)) > int64(s.cfg.MaxBytes) {
			s.buf, full = s.buf[:before], true
			break
		}
		n++
	}
	if _, err := seg.file.WriteAt(s.buf, seg.size); err != nil {
		// Not to be found by recovery, if that is possible: they will count as dropped.
		_ = seg.file.Truncate(seg.size)
		return 0, err
	}
	seg.size += int64(len(s.buf))
	seg.records += n
	s.bytes.Add(int64(len(s.buf)))
	s.records.Add(int64(n))
	s.dirty = s.dirty || n > 0
	if n > 0 {
		wakeUp(s.wake)
	}
	if full {
		err = errSpoolFull
	}
	return n, err
}

func (s *Spool) create() error {
	seg, err := createSegment(s.dir, s.last+1)
	if err != nil {
		return err
	}
	s.last++
	if s.sync.Always { // the name too
		if err := syncDir(s.dir); err != nil {
			return errors.Join(err, seg.remove())
		}
	}
	s.active = seg
	s.segments = append(s.segments, seg)
	s.bytes.Add(seg.size)
	return nil
}

// Next waits for records and returns about so many bytes of them, and a mark for Ack.
// Without Ack it returns the same ones again.
func (s *Spool) Next(ctx context.Context, bytes int) ([]Record, mark, error) {
	for {
		s.mu.Lock()
		var seg segment // a copy: Append changes the size
		if len(s.segments) > 0 {
			seg = *s.segments[0]
		}
		at := s.at
		s.mu.Unlock()
		if at < seg.size {
			return s.parse(&seg, at, bytes)
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, mark{}, ctx.Err()
		}
	}
}

// mark is where records end that Next has returned.
type mark struct {
	at      int64
	records int
}

func (s *Spool) parse(seg *segment, at int64, bytes int) ([]Record, mark, error) {
	bodies, next, err := seg.read(at, bytes)
	if len(bodies) == 0 && err != nil {
		return nil, mark{}, err
	}
	records := make([]Record, 0, len(bodies))
	for _, body := range bodies {
		r, err := parseRecord(body)
		if err != nil { // its checksum was right: another version's
			s.log.Error("a record of the spool cannot be read", "file", seg.path, "error", err)
			continue
		}
		records = append(records, r)
	}
	return records, mark{next, len(bodies)}, nil
}

// Ack says that the records up to m are in the stream. It deletes segments that
// everything was read from.
func (s *Spool) Ack(m mark) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = m.at
	s.records.Add(-int64(m.records))
	if seg := s.segments[0]; s.at >= seg.size {
		return s.removeFirst()
	}
	return nil
}

func (s *Spool) removeFirst() error {
	seg := s.segments[0]
	s.segments = s.segments[1:]
	s.at = int64(len(segmentMagic))
	if s.active == seg {
		s.active, s.dirty = nil, false
	}
	s.bytes.Add(-seg.size)
	if len(s.segments) > 0 {
		wakeUp(s.wake)
	}
	return seg.remove()
}

// Skip gives up the rest of the first segment, which cannot be read.
func (s *Spool) Skip() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var later int
	for _, seg := range s.segments[1:] {
		later += seg.records
	}
	s.records.Store(int64(later))
	return s.removeFirst()
}

// Sync writes what was appended to the disk.
func (s *Spool) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flush()
}

func (s *Spool) flush() error {
	if !s.dirty || s.active == nil {
		return nil
	}
	if err := s.active.file.Sync(); err != nil {
		return err
	}
	if !s.sync.Always {
		if err := syncDir(s.dir); err != nil {
			return err
		}
	}
	s.dirty = false
	return nil
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Close closes the files, whose records stay.
func (s *Spool) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	err := s.flush()
	for _, seg := range s.segments {
		err = errors.Join(err, seg.file.Close())
	}
	s.segments, s.active = nil, nil
	return err
}
