package sqlstore

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// The write-ahead log as https://sqlite.org/fileformat2.html#the_write_ahead_log
// has it.
const (
	walHeader  = 32
	walFrame   = 24 // before each page
	walMagic   = 0x377f0682
	walVersion = 3007000
)

// errLog says that the write-ahead log lost what was acknowledged.
type errLog struct{ what string }

func (e errLog) Error() string {
	return "its -wal file is damaged (" + e.what + ") and has lost what was acknowledged; restore a backup, or move the -wal away to go on without its changes"
}

// checkLog refuses a write-ahead log that is damaged before its end. SQLite
// reads a log up to the first frame that is not whole, as it must after a crash,
// and forgets the rest without a word: revocations would be undone. A damage is
// told from a crash by what follows: every commit is on disk before the next
// frame is written. What is cut off at the end does not show.
func checkLog(path string) error {
	var err error
	for range 3 { // another process may have been writing
		var damage errLog
		if err = readLog(path); !errors.As(err, &damage) {
			return err
		}
	}
	return err
}

func readLog(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() <= walHeader {
		return nil // no frame was ever in it
	}
	r := bufio.NewReaderSize(f, 1<<20)
	head := make([]byte, walHeader)
	if _, err := io.ReadFull(r, head); err != nil {
		return err
	}
	l, ok := newLog(head)
	if !ok {
		return errLog{"its header"}
	}
	return l.frames(r)
}

// logReader is the state of a reader: the order of bytes in checksums, the salt of
// this generation of the log, and the checksum so far.
type logReader struct {
	order binary.ByteOrder
	salt  [8]byte
	sum   [2]uint32
	page  []byte
}

func newLog(head []byte) (*logReader, bool) {
	field := func(i int) uint32 { return binary.BigEndian.Uint32(head[4*i:]) }
	l := &logReader{order: binary.LittleEndian, salt: [8]byte(head[16:24])}
	if field(0) == walMagic+1 {
		l.order = binary.BigEndian
	}
	size := field(2)
	if field(0)&^1 != walMagic || field(1) != walVersion || size < 512 || size > 1<<16 || size&(size-1) != 0 {
		return nil, false
	}
	l.add(head[:24])
	l.page = make([]byte, size)
	return l, l.sum == [2]uint32{field(6), field(7)}
}

// add continues the checksum.
func (l *logReader) add(p []byte) {
	for i := 0; i < len(p); i += 8 {
		l.sum[0] += l.order.Uint32(p[i:]) + l.sum[1]
		l.sum[1] += l.order.Uint32(p[i+4:]) + l.sum[0]
	}
}

// frames looks for a frame that is not whole with a commit after it that others
// follow.
func (l *logReader) frames(r io.Reader) error {
	head := make([]byte, walFrame)
	broken, committed := 0, false
	for n := 1; ; n++ {
		if _, err := io.ReadFull(r, head); err != nil {
			return endOfLog(err)
		}
		if _, err := io.ReadFull(r, l.page); err != nil {
			return endOfLog(err)
		}
		ours := [8]byte(head[8:16]) == l.salt
		if broken == 0 {
			l.add(head[:8])
			l.add(l.page)
			if !ours || l.sum != [2]uint32{binary.BigEndian.Uint32(head[16:]), binary.BigEndian.Uint32(head[20:])} {
				broken = n
			}
		}
		switch {
		case broken == 0 || !ours:
		case committed:
			return errLog{fmt.Sprintf("frame %d", broken)}
		default:
			committed = binary.BigEndian.Uint32(head[4:]) != 0
		}
	}
}

func endOfLog(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}
