package server

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// Audit is the file of security events: one JSON line each, whose hash covers
// the line and the hash of the line before, so that a line that was changed,
// removed or inserted shows. Several processes may append: the gateway and the
// administrator's commands. Cutting off the end does not show; whoever needs
// that keeps the last hash elsewhere.
type Audit struct {
	path string
	log  *slog.Logger
	now  func() time.Time

	mu   sync.Mutex
	f    *os.File
	size int64  // after our last line
	prev string // its hash
}

// genesis is the prev of the first line ever.
const genesis = "0000000000000000000000000000000000000000000000000000000000000000"

// maxAuditLine bounds a line; values are cut far below.
const (
	maxAuditLine  = 64 << 10
	maxAuditValue = 1024
)

// OpenAudit opens or creates the file at path, with mode 0600. An empty path
// gives an Audit that writes its events to log.
func OpenAudit(path string, log *slog.Logger, now func() time.Time) (*Audit, error) {
	a := &Audit{path: path, log: log, now: now, prev: genesis}
	if path == "" {
		return a, nil
	}
	if err := a.reopen(); err != nil {
		return nil, fmt.Errorf("audit file: %w", err)
	}
	return a, nil
}

// Logger returns the logger through which events are written: the message is
// the event's name, the attributes are its fields.
func (a *Audit) Logger() *slog.Logger {
	if a.path == "" {
		return slog.New(auditToLog{a.log.Handler()})
	}
	return slog.New(&auditHandler{a: a})
}

// Close closes the file.
func (a *Audit) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.f == nil {
		return nil
	}
	f := a.f
	a.f = nil
	return f.Close()
}

func (a *Audit) reopen() error {
	f, err := os.OpenFile(a.path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	fi, err := f.Stat()
	if err == nil && !fi.Mode().IsRegular() {
		err = fmt.Errorf("%s is not a regular file", a.path)
	}
	if err == nil && fi.Mode().Perm()&0o007 != 0 {
		err = fmt.Errorf("%s is open to others (mode %04o); run chmod 600 on it", a.path, fi.Mode().Perm())
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	a.f, a.size = f, -1 // the tail is read under the lock
	return nil
}

// append writes one event under the lock that all writers share.
func (a *Audit) append(line []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.f == nil {
		return os.ErrClosed
	}
	if err := a.follow(); err != nil {
		return err
	}
	if err := flock(a.f, syscall.LOCK_EX); err != nil {
		return err
	}
	defer flock(a.f, syscall.LOCK_UN) //nolint:errcheck // closing unlocks too
	if err := a.catchUp(); err != nil {
		return err
	}
	line = append(line, `,"prev":"`...)
	line = append(line, a.prev...)
	line = append(line, '"')
	sum := sha256.Sum256(line)
	hash := hex.EncodeToString(sum[:])
	line = append(line, `,"hash":"`...)
	line = append(line, hash...)
	line = append(line, "\"}\n"...)
	if n, err := a.f.Write(line); err != nil {
		if n > 0 {
			err = errors.Join(err, a.f.Truncate(a.size)) // half a line would break the chain
		}
		return err
	}
	a.size += int64(len(line))
	a.prev = hash
	return nil
}

// follow opens the file again when it was moved away: the chain goes on in the
// new one.
func (a *Audit) follow() error {
	at, err := os.Stat(a.path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err == nil {
		mine, err := a.f.Stat()
		if err != nil {
			return err
		}
		if os.SameFile(at, mine) {
			return nil
		}
	}
	old := a.f
	if err := a.reopen(); err != nil {
		return err
	}
	return old.Close()
}

// catchUp reads the last line when somebody else wrote since; half a line at
// the end, left by a crash, is cut off.
func (a *Audit) catchUp() error {
	fi, err := a.f.Stat()
	if err != nil {
		return err
	}
	if fi.Size() == a.size {
		return nil
	}
	tail := make([]byte, min(fi.Size(), 2*maxAuditLine))
	if _, err := a.f.ReadAt(tail, fi.Size()-int64(len(tail))); err != nil && err != io.EOF {
		return err
	}
	end := bytes.LastIndexByte(tail, '\n') + 1
	if torn := len(tail) - end; torn > 0 {
		if end == 0 && fi.Size() > int64(len(tail)) {
			return fmt.Errorf("%s does not look like an audit file; move it away", a.path)
		}
		if err := a.f.Truncate(fi.Size() - int64(torn)); err != nil {
			return err
		}
	}
	a.size = fi.Size() - int64(len(tail)-end)
	if end == 0 {
		return nil // empty: a new file goes on with the hash of the one before
	}
	last := tail[bytes.LastIndexByte(tail[:end-1], '\n')+1 : end-1]
	_, hash, ok := splitHash(last)
	if !ok {
		return fmt.Errorf("%s does not end with an audit line; move it away", a.path)
	}
	a.prev = hash
	return nil
}

// flock repeats a lock that a signal interrupted.
func flock(f *os.File, how int) error {
	for {
		err := syscall.Flock(int(f.Fd()), how)
		if err != syscall.EINTR { //nolint:errorlint // a bare errno
			return wrapf(err, "lock %s", f.Name())
		}
	}
}

// splitHash takes a line apart: what the hash covers, and the hash.
func splitHash(line []byte) (covered []byte, hash string, ok bool) {
	const suffix = len(`,"hash":"`) + sha256.Size*2 + len(`"}`)
	i := len(line) - suffix
	if i < 1 || !bytes.HasPrefix(line[i:], []byte(`,"hash":"`)) || !bytes.HasSuffix(line, []byte(`"}`)) {
		return nil, "", false
	}
	hash = string(line[i+len(`,"hash":"`) : len(line)-2])
	if raw, err := hex.DecodeString(hash); err != nil || len(raw) != sha256.Size {
		return nil, "", false
	}
	return line[:i], hash, true
}
