package revoked

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"gatehouse/store"
)

// Bell tells the other instances of revocations before their next poll. What it
// carries may be lost.
type Bell interface {
	Ring(ctx context.Context, message []byte) error
	Follow(ctx context.Context, heard func(message []byte), missed func())
}

// atOnce bounds the entries one message carries; of more the others read in the
// list.
const atOnce = 100

// message is what the bell carries; no entries means that the list is worth
// reading.
type message struct {
	Epoch   string  `json:"epoch"`
	Entries []entry `json:"entries,omitempty"`
}

// entry is a revocation on its way; times are Unix microseconds.
type entry struct {
	Seq        int64      `json:"seq"`
	Kind       store.Kind `json:"kind"`
	Key        string     `json:"key"`
	Generation int64      `json:"generation,omitempty"`
	Created    int64      `json:"created"`
	Expires    int64      `json:"expires"`
}

// SetBell connects the mirror with those of other instances. Call it before
// Load, and Listen afterwards.
func (m *Mirror) SetBell(b Bell) { m.bell = b }

// Listen puts in force what other instances tell of, until ctx ends.
func (m *Mirror) Listen(ctx context.Context) {
	if m.bell != nil {
		m.bell.Follow(ctx, m.hear, m.poke)
	}
}

// poke asks Run to poll now.
func (m *Mirror) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// ring tells of what a poll has found here first. Nobody waits for the others
// to hear it, and a failure costs them a poll.
func (m *Mirror) ring(ctx context.Context, epoch string, found []store.Revocation) {
	if m.bell == nil || len(found) == 0 {
		return
	}
	out := message{Epoch: epoch}
	if len(found) <= atOnce {
		for _, e := range found {
			out.Entries = append(out.Entries, entry{e.Seq, e.Kind, e.Key, e.Generation, e.CreatedAt.UnixMicro(), e.Expires.UnixMicro()})
		}
	}
	text, err := json.Marshal(out)
	if err == nil {
		err = m.bell.Ring(ctx, text)
	}
	if err != nil {
		m.log.LogAttrs(ctx, slog.LevelDebug, "the other instances learn of revocations by polling", slog.Any("error", err))
	}
}

// hear takes a message of another instance, or one's own. What cannot be read,
// or speaks of another list, is a reason to read the list.
func (m *Mirror) hear(text []byte) {
	var in message
	if json.Unmarshal(text, &in) != nil || len(in.Entries) == 0 {
		m.poke()
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if in.Epoch != m.epoch {
		m.poke()
		return
	}
	for _, e := range in.Entries {
		m.take(store.Revocation{
			Seq: e.Seq, Kind: e.Kind, Key: e.Key, Generation: e.Generation,
			CreatedAt: time.UnixMicro(e.Created).UTC(), Expires: time.UnixMicro(e.Expires).UTC(),
		})
	}
}
