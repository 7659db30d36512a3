package revoked

import (
	"context"
	"log/slog"

	"gatehouse/store"
)

// SetSource names the list to mirror. Call it before Load.
func (m *Mirror) SetSource(src store.Revocations) { m.src = src }

// Preload puts in force what a list says that nobody has proven sound yet, so
// that Load finds little left to do. It vouches for nothing: what it has read
// may be wrong or old, and Load, which decides whether anybody may be accepted,
// goes on from there only in the list of the same epoch. What was not read to
// its end counts as not read.
func (m *Mirror) Preload(ctx context.Context, src store.Revocations) {
	m.polling.Lock()
	defer m.polling.Unlock()
	if _, err := m.readAll(ctx, src); err != nil {
		m.log.LogAttrs(ctx, slog.LevelDebug, "the revocation list could not be read ahead", slog.Any("error", err))
		m.forgetPlace()
	}
}

// forgetPlace makes the next poll read the list from its start.
func (m *Mirror) forgetPlace() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.epoch, m.head, m.recent = "", 0, map[int64]store.Revocation{}
}
