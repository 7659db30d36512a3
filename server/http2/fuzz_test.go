package http2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	h2 "golang.org/x/net/http2"

	"gatehouse/internal/tape"
)

// script as bytes, of one stream.
func (s *script) bytes(id uint32) []byte {
	var b bytes.Buffer
	c := newClient(nil, nil)
	c.Framer = h2.NewFramer(&b, nil)
	c.AllowIllegalWrites = true
	c.ask(id, len(s.data) == 0 && s.trailers == nil, s.head...)
	for i, d := range s.data {
		_ = c.WriteDataPadded(id, s.trailers == nil && i == len(s.data)-1, []byte(d[:min(len(d), 100)]), make([]byte, s.pad%20))
	}
	if s.trailers != nil {
		_ = c.WriteHeaders(h2.HeadersFrameParam{StreamID: id, BlockFragment: c.block(s.trailers...), EndHeaders: true, EndStream: true})
	}
	return b.Bytes()
}

// mostSent is the most of bodies that a client who sent this takes.
func mostSent(in []byte) (most int) {
	most = firstWindow
	f := h2.NewFramer(nil, bytes.NewReader(in))
	f.AllowIllegalReads = true
	for {
		switch got, err := f.ReadFrame(); got := got.(type) {
		case *h2.WindowUpdateFrame:
			most += int(got.Increment)
		default:
			var one h2.StreamError
			if err != nil && !errors.As(err, &one) {
				return most
			}
		}
	}
}

// FuzzT125_Frames: whatever a client sends, it is served or shown the door; what
// it hears are frames, and no more of bodies than it takes; nobody is left.
func FuzzT125_Frames(f *testing.F) {
	const most = 2 << 10
	r := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a test's choice
	for range 300 {
		in := oddScript(r).bytes(1)
		for range r.IntN(6) {
			var b bytes.Buffer
			more := h2.NewFramer(&b, nil)
			more.AllowIllegalWrites = true
			switch id := uint32(r.IntN(6)); r.IntN(9) {
			case 0:
				_ = more.WritePing(r.IntN(2) == 0, farewellPing)
			case 1:
				_ = more.WriteSettings(h2.Setting{ID: h2.SettingID(r.IntN(8)), Val: uint32(1) << r.IntN(32)})
			case 2:
				_ = more.WriteRSTStream(id, h2.ErrCodeCancel)
			case 3:
				_ = more.WriteWindowUpdate(id, uint32(1)<<r.IntN(32))
			case 4:
				_ = more.WriteGoAway(id, h2.ErrCodeNo, nil)
			case 5:
				_ = more.WritePriority(id, h2.PriorityParam{StreamDep: uint32(r.IntN(4))})
			case 6:
				_ = more.WriteData(id, r.IntN(2) == 0, []byte("more"))
			case 7:
				_ = more.WriteContinuation(id, true, []byte{0x88})
			default:
				b.Write(oddScript(r).bytes(id))
			}
			in = append(in, b.Bytes()...)
		}
		if len(in) <= most {
			f.Add(in, byte(r.IntN(256)))
		}
	}
	f.Fuzz(func(t *testing.T, in []byte, piece byte) {
		if len(in) <= most {
			hear(t, in, 1+16*int(piece))
		}
	})
}

func hear(t *testing.T, in []byte, piece int) {
	log := &lockedBuffer{}
	srv := newServer(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "unread") {
			_ = http.NewResponseController(w).SetWriteDeadline(time.Now())
		}
		body, _ := io.ReadAll(r.Body)
		respond(w, r.URL.Path, body)
	})
	srv.Log = slog.New(slog.NewTextHandler(log, nil))
	var hello bytes.Buffer
	hello.WriteString(h2.ClientPreface)
	_ = h2.NewFramer(&hello, nil).WriteSettings()
	c := tape.New(append(hello.Bytes(), in...), piece)
	served := newConn(context.Background(), srv, c, nil)
	go served.serve()
	select {
	case <-c.Ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the connection does not end")
	}
	eventually(t, "a handler does not end", func() bool {
		served.mu.Lock()
		defer served.mu.Unlock()
		return served.running == 0 && len(served.streams) == 0
	})
	srv.workers.trim()
	if said := log.String(); said != "" {
		t.Errorf("logged %s", said)
	}
	if err := frames(c.Heard(), mostSent(in)); err != nil {
		t.Error(err)
	}
}

// frames reads what a client hears.
func frames(out []byte, most int) error {
	f, sent := h2.NewFramer(nil, bytes.NewReader(out)), 0
	for {
		got, err := f.ReadFrame()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("what the client hears is no frame: %w", err)
		}
		if d, ok := got.(*h2.DataFrame); ok {
			if sent += len(d.Data()); sent > most {
				return fmt.Errorf("%d bytes and more of bodies are sent, and %d wanted", sent, most)
			}
		}
	}
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
