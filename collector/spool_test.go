package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var testSpool = SpoolConfig{MaxBytes: 64 << 20, SegmentBytes: 1 << 20}

func testRecord(i int) Record {
	return Record{
		ID: fmt.Sprint("id-", i), Input: "raw", Source: netip.MustParseAddrPort("[fe80::1%eth0]:514"),
		Received: time.Unix(1700000000, int64(i)), Subject: "udp.raw", Fault: "none", Raw: i%2 == 0, Payload: fmt.Append(nil, i),
	}
}

func testRecords(from, to int) (records []Record) {
	for i := from; i < to; i++ {
		records = append(records, testRecord(i))
	}
	return records
}

func open(t *testing.T, dir string, cfg SpoolConfig, sync Sync) *Spool {
	s, err := openSpool(dir, cfg, sync, testLog(t))
	require.NoError(t, err)
	return s
}

// drain returns all that is in s, and acknowledges it.
func drain(t *testing.T, s *Spool) (records []Record) {
	for s.Pending() {
		some, end, err := s.Next(t.Context(), 1000)
		require.NoError(t, err)
		require.NoError(t, s.Ack(end))
		records = append(records, some...)
	}
	return records
}

func TestSpoolIsAQueue(t *testing.T) {
	for _, sync := range []Sync{{}, {Always: true}, {Every: time.Hour}} {
		dir := t.TempDir()
		s := open(t, dir, testSpool, sync)
		require.False(t, s.Pending())
		n, err := s.Append(testRecords(0, 100))
		require.NoError(t, err)
		require.Equal(t, 100, n)

		first, end, err := s.Next(t.Context(), 1000)
		require.NoError(t, err)
		again, _, err := s.Next(t.Context(), 1000)
		require.NoError(t, err)
		require.Equal(t, first, again)
		require.NoError(t, s.Ack(end))
		_, err = s.Append(testRecords(100, 200))
		require.NoError(t, err)
		require.Equal(t, testRecords(0, 200), append(first, drain(t, s)...))
		require.NoError(t, s.Sync())

		files, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, files, "what was acknowledged is deleted")
		require.Zero(t, s.bytes.Load())
		require.NoError(t, s.Close())
		_, err = s.Append(testRecords(0, 1))
		require.ErrorIs(t, err, os.ErrClosed)
	}
}

func TestSpoolWaits(t *testing.T) {
	s := open(t, t.TempDir(), testSpool, Sync{})
	ctx, cancel := context.WithCancel(t.Context())
	got := make(chan error)
	go func() {
		_, end, err := s.Next(ctx, 1000)
		if err == nil {
			err = s.Ack(end)
		}
		got <- err
		_, _, err = s.Next(ctx, 1000)
		got <- err
	}()
	_, err := s.Append(testRecords(0, 1))
	require.NoError(t, err)
	require.NoError(t, <-got)
	cancel()
	require.ErrorIs(t, <-got, context.Canceled)
	require.NoError(t, s.Close())
}

func TestSpoolSurvives(t *testing.T) {
	dir := t.TempDir()
	small := SpoolConfig{MaxBytes: 64 << 20, SegmentBytes: 100 << 10}
	s := open(t, dir, small, Sync{})
	_, err := s.Append(testRecords(0, 5_000)) // several segments
	require.NoError(t, err)
	require.Greater(t, len(s.segments), 2)
	// No Close: the process was killed.

	s2 := open(t, dir, small, Sync{})
	require.EqualValues(t, 5_000, s2.records.Load())
	require.Equal(t, s.bytes.Load(), s2.bytes.Load())
	_, err = s2.Append(testRecords(5_000, 5_001))
	require.NoError(t, err)
	require.Equal(t, testRecords(0, 5_001), drain(t, s2))
	require.NoError(t, s2.Close())
	require.NoError(t, s.Close())
}

// A write may be interrupted at any byte. What was whole before it stays.
func TestSpoolRecoversATornTail(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, testSpool, Sync{})
	_, err := s.Append(testRecords(0, 3))
	require.NoError(t, err)
	path, before := s.active.path, s.active.size
	_, err = s.Append(testRecords(3, 4))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)

	for size := range len(whole) {
		torn := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(torn, filepath.Base(path)), whole[:size], 0o600))
		s := open(t, torn, testSpool, Sync{})
		want := 3
		if size < int(before) {
			want = int(s.records.Load())
			require.Less(t, want, 3)
		}
		_, err := s.Append(testRecords(4, 5)) // behind the cut
		require.NoError(t, err)
		got := drain(t, s)
		require.Equal(t, append(testRecords(0, want), testRecord(4)), got)
		require.NoError(t, s.Close())
	}
}

// Whatever byte of a file changes, no record is returned that was not appended.
func TestSpoolFindsDamage(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, testSpool, Sync{})
	_, err := s.Append(testRecords(0, 3))
	require.NoError(t, err)
	path := s.active.path
	require.NoError(t, s.Close())
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for i := range whole {
		damaged := slices.Clone(whole)
		damaged[i] ^= 0x10
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(path)), damaged, 0o600))
		s, err := openSpool(dir, testSpool, Sync{}, testLog(t))
		if i < len(segmentMagic) {
			require.ErrorIs(t, err, errHeader)
			continue
		}
		require.NoError(t, err)
		require.Positive(t, s.torn)
		got := drain(t, s)
		require.Equal(t, testRecords(0, len(got)), append([]Record(nil), got...))
		require.Less(t, len(got), 3)
		require.NoError(t, s.Close())
	}
}

// A segment that is damaged while it is in use is given up; what follows is not.
func TestSpoolSkips(t *testing.T) {
	s := open(t, t.TempDir(), SpoolConfig{MaxBytes: 64 << 20, SegmentBytes: 100 << 10}, Sync{})
	_, err := s.Append(testRecords(0, 5_000))
	require.NoError(t, err)
	first := s.segments[0]
	_, err = first.file.WriteAt([]byte("xxxx"), int64(len(segmentMagic))+20)
	require.NoError(t, err)
	_, _, err = s.Next(t.Context(), 1000)
	require.ErrorIs(t, err, errFrame)
	require.NoError(t, s.Skip())
	require.Equal(t, testRecords(first.records, 5_000), drain(t, s))
	require.NoError(t, s.Close())
}

func TestSpoolIsBounded(t *testing.T) {
	cfg := SpoolConfig{MaxBytes: 300 << 10, SegmentBytes: 100 << 10}
	s := open(t, t.TempDir(), cfg, Sync{})
	n, err := s.Append(testRecords(0, 10_000))
	require.ErrorIs(t, err, errSpoolFull)
	require.LessOrEqual(t, s.bytes.Load(), int64(cfg.MaxBytes))
	require.Greater(t, s.bytes.Load(), int64(cfg.MaxBytes)-1000)
	require.EqualValues(t, n, s.records.Load())
	k, err := s.Append(testRecords(n, n+100)) // the one that had no room
	require.ErrorIs(t, err, errSpoolFull)
	require.Zero(t, k)

	for len(s.segments) > 2 { // room for a segment
		_, end, err := s.Next(t.Context(), 1<<20)
		require.NoError(t, err)
		require.NoError(t, s.Ack(end))
	}
	k, err = s.Append(testRecords(n, n+100))
	require.NoError(t, err)
	got := drain(t, s)
	require.Equal(t, testRecords(n-100, n+k), got[len(got)-200:])
	require.NoError(t, s.Close())
}

// A record may be longer than a segment, and than what is read at once.
func TestSpoolTakesLongRecords(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, testSpool, Sync{})
	long := testRecord(0)
	long.Payload = make([]byte, 3<<20)
	for range 3 {
		_, err := s.Append([]Record{testRecord(1), long})
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	s = open(t, dir, testSpool, Sync{})
	require.Equal(t, []Record{testRecord(1), long, testRecord(1), long, testRecord(1), long}, drain(t, s))
	require.NoError(t, s.Close())
}

func TestSpoolReportsFailures(t *testing.T) {
	s := open(t, t.TempDir(), testSpool, Sync{})
	_, err := s.Append(testRecords(0, 10))
	require.NoError(t, err)
	require.NoError(t, s.active.file.Close()) // the disk fails
	n, err := s.Append(testRecords(10, 20))
	require.Error(t, err)
	require.Zero(t, n)
	require.EqualValues(t, 10, s.records.Load())
	require.Error(t, s.Close())
}

func TestRecordsAreCheckedWhenParsed(t *testing.T) {
	r := testRecord(7)
	b := r.appendTo(nil)
	got, err := parseRecord(b)
	require.NoError(t, err)
	require.Equal(t, r, got)
	for size := range len(b) - len(r.Payload) {
		_, err := parseRecord(b[:size])
		require.ErrorIs(t, err, errRecord)
	}
}

func FuzzRecord(f *testing.F) {
	r := Record{ID: "id", Input: "syslog", Source: testSource, Received: testTime, Subject: "logs", Payload: []byte("payload")}
	f.Add(r.appendTo(nil))
	r.Raw, r.Fault = true, "malformed"
	f.Add(r.appendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := parseRecord(b)
		if err != nil {
			return
		}
		again, err := parseRecord(r.appendTo(nil))
		require.NoError(t, err)
		require.Equal(t, r, again)
	})
}
