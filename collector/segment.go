package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A segment is a file of the spool, to which records are only ever appended:
//
//	magic, then for each record: length of the body (4 bytes), CRC-32C of length and body (4), body
//
// Integers are little-endian. A body is what Record.appendTo appends.
type segment struct {
	path    string
	number  uint64
	file    *os.File
	size    int64 // up to the end of the last whole record
	records int
}

const (
	segmentMagic  = "udpspl01"
	segmentSuffix = ".seg"
	frameHeader   = 8
	maxBody       = 4 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends a record with its length and checksum.
func appendFrame(b []byte, r *Record) []byte {
	at := len(b)
	b = append(b, make([]byte, frameHeader)...)
	b = r.appendTo(b)
	binary.LittleEndian.PutUint32(b[at:], uint32(len(b)-at-frameHeader))
	binary.LittleEndian.PutUint32(b[at+4:], checksum(b[at:]))
	return b
}

// checksum is that of a frame: a length that was damaged shows as well.
func checksum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:4], castagnoli), castagnoli, frame[frameHeader:])
}

var (
	errShort  = errors.New("the frame is not complete")
	errFrame  = errors.New("the frame is damaged")
	errHeader = errors.New("not a segment of a spool")
)

// nextFrame returns the body of the first frame of b, and the length of the frame. With
// errShort the length is how long b must be to know more.
func nextFrame(b []byte) (body []byte, n int, err error) {
	if len(b) < frameHeader {
		return nil, frameHeader, errShort
	}
	length := binary.LittleEndian.Uint32(b)
	if length > maxBody {
		return nil, 0, errFrame
	}
	n = frameHeader + int(length)
	if len(b) < n {
		return nil, n, errShort
	}
	if checksum(b[:n]) != binary.LittleEndian.Uint32(b[4:]) {
		return nil, 0, errFrame
	}
	return b[frameHeader:n], n, nil
}

func segmentPath(dir string, number uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%016x", number)+segmentSuffix)
}

// createSegment makes an empty segment.
func createSegment(dir string, number uint64) (*segment, error) {
	path := segmentPath(dir, number)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	s := &segment{path: path, number: number, file: f, size: int64(len(segmentMagic))}
	if _, err := f.WriteAt([]byte(segmentMagic), 0); err != nil {
		_ = f.Close()
		_ = os.Remove(path)
		return nil, err
	}
	return s, nil
}

// openSegment opens a segment of an earlier process, and cuts off what is behind the
// last whole record: a write that was interrupted. It returns how many bytes that were.
func openSegment(path string) (s *segment, torn int64, err error) {
	number, err := strconv.ParseUint(strings.TrimSuffix(filepath.Base(path), segmentSuffix), 16, 64)
	if err != nil {
		return nil, 0, fmt.Errorf("%s: %w", path, errHeader)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, 0, err
	}
	s = &segment{path: path, number: number, file: f}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	head := make([]byte, min(info.Size(), int64(len(segmentMagic))))
	if _, err := f.ReadAt(head, 0); err != nil && err != io.EOF {
		return nil, 0, errors.Join(err, f.Close())
	}
	switch {
	case string(head) == segmentMagic:
	case strings.HasPrefix(segmentMagic, string(head)): // interrupted while it was made
		return s, int64(len(head)), nil
	default:
		return nil, 0, errors.Join(fmt.Errorf("%s: %w", path, errHeader), f.Close())
	}
	s.size = info.Size()
	good := int64(len(segmentMagic))
	for good < info.Size() {
		bodies, next, err := s.read(good, 1<<20)
		s.records += len(bodies)
		good = next
		if errors.Is(err, errFrame) {
			break
		}
		if err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
	}
	s.size = good
	if torn = info.Size() - good; torn > 0 {
		if err := f.Truncate(good); err != nil {
			return nil, 0, errors.Join(err, f.Close())
		}
	}
	return s, torn, nil
}

// read returns the bodies of the whole records from at on, about so many bytes but at
// least one record, and where the next one begins. Its error is errFrame if what
// follows the bodies is no record.
func (s *segment) read(at int64, bytes int) (bodies [][]byte, next int64, err error) {
	for {
		buf := make([]byte, min(int64(bytes), s.size-at))
		if _, err := s.file.ReadAt(buf, at); err != nil {
			return nil, at, err
		}
		whole := int64(len(buf)) == s.size-at
		next = at
		for len(buf) > 0 {
			body, n, err := nextFrame(buf)
			if errors.Is(err, errShort) && !whole {
				if len(bodies) == 0 {
					bytes = n
				}
				break
			}
			if err != nil {
				return bodies, next, errFrame
			}
			bodies = append(bodies, body)
			buf = buf[n:]
			next += int64(n)
		}
		if len(bodies) > 0 || whole {
			return bodies, next, nil
		}
	}
}

// remove deletes the file.
func (s *segment) remove() error {
	return errors.Join(s.file.Close(), os.Remove(s.path))
}
