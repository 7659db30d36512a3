package sqlstore

import (
	"testing"

	"gatehouse/internal/gatetest"
	"gatehouse/internal/servertest"
)

// The cost model of docs/scaling.md rests on these sizes.
func TestPostgresRowSizes(t *testing.T) {
	if !gatetest.Full() {
		t.Skip("measures; GATEHOUSE_FULL=1 runs it")
	}
	p := openPostgres(t, servertest.StartPostgres(t).Database(""))
	for table, statement := range map[string]string{
		"users": `INSERT INTO users SELECT md5(i::text) || 'abcdefghijkl', 'user' || i || '@example.com', 'user' || i || '@example.com', true, 'Name ' || i, '["staff"]',
			'$argon2id$v=19$m=19456,t=2,p=1$' || repeat('x', 66), false, 1, 1, 1, 1 FROM generate_series(1, 100000) i`,
		"sessions": `INSERT INTO sessions SELECT md5(i::text) || 'abcdefghijkl', md5('u' || i) || 'abcdefghijkl', decode(substr(md5(i::text), 1, 24), 'hex'), sha256(i::text::bytea), sha256(('p' || i)::bytea),
			1, 1, 1, 1, 1, 1, 0, '["pwd"]', repeat('a', 110), '192.0.2.1' FROM generate_series(1, 100000) i`,
		"revocations": `INSERT INTO revocations (kind, subject, generation, created_at, expires) SELECT 2, md5(i::text) || 'abcdefghijkl', 0, 1, i FROM generate_series(1, 100000) i`,
	} {
		if _, err := p.db.Exec(statement); err != nil {
			t.Fatal(err)
		}
		var size int
		if err := p.db.QueryRow("SELECT pg_total_relation_size($1) / 100000", table).Scan(&size); err != nil || size == 0 {
			t.Fatal(size, err)
		}
		t.Logf("%s: %d bytes a row, indexes included", table, size)
	}
}
