package store

import (
	"context"
	"time"
)

// Instance is one gateway of a cluster.
type Instance struct {
	ID        string // random, new at every start
	Host      string
	Version   string
	StartedAt time.Time
	SeenAt    time.Time // its last sign of life
}

// Instances keeps who serves together, and what they must agree on.
type Instances interface {
	// Beat records a sign of life, and returns all that gave one since.
	// Those not seen since then are forgotten.
	Beat(ctx context.Context, i Instance, since time.Time) ([]Instance, error)
	// Leave removes an instance that stops.
	Leave(ctx context.Context, id string) error
	// List returns all that are recorded, oldest start first.
	List(ctx context.Context) ([]Instance, error)
	// Agree stores a value under a name unless there is one, and returns the
	// one that stands.
	Agree(ctx context.Context, name, value string) (string, error)
}
