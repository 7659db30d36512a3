package config

import (
	"net"
	"net/url"
	"strings"
)

func (d *document) checkStore(s *Store) {
	switch path := s.SQLite.Path; {
	case path == "":
		d.at("store.sqlite.path", "leave the key out for the default", "is empty")
	case strings.HasPrefix(path, ":memory:") || strings.HasPrefix(path, "file:"):
		d.at("store.sqlite.path", "write gatehouse.db", "%s is not the name of a file", quote(path))
	}
	if s.Postgres == nil {
		return
	}
	if d.has("store.sqlite") {
		d.at("store.postgres", "keep one of them", "sqlite is given as well")
	}
	d.checkPostgresURL(s.Postgres.URL, d.asFile("store.postgres.url"))
}

// asFile is the path of a secret as it was given.
func (d *document) asFile(path string) string {
	if d.has(path + "_file") {
		return path + "_file"
	}
	return path
}

func (d *document) checkPostgresURL(secret Secret, at string) {
	if secret.IsZero() || !d.clean(at) {
		return
	}
	const like = "write postgres://USER:PASSWORD@HOST/DATABASE" //#nosec G101 -- the form, no password
	u, err := url.Parse(secret.Reveal())
	switch {
	case err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" || u.Opaque != "":
		d.at(at, like, "is not the URL of a PostgreSQL database")
		return
	case u.Host == "" && u.Query().Get("host") == "":
		d.at(at, like, "names no host")
	case strings.Trim(u.Path, "/") == "" && u.Query().Get("dbname") == "":
		d.at(at, like, "names no database")
	}
	for _, host := range strings.Split(u.Host, ",") {
		if name, _, err := net.SplitHostPort(host); err == nil {
			host = name
		}
		switch mode := u.Query().Get("sslmode"); {
		case host == "" || isLoopback(strings.Trim(host, "[]")):
		case mode == "disable", mode == "allow", mode == "prefer", mode == "require":
			d.warn(at, "leave sslmode out, or write verify-full", "with sslmode=%s anybody on the way to %s can pose as the database", mode, host)
			return
		}
	}
}
