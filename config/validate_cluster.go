package config

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
)

// checkRedis looks at the addresses, and for keys that do nothing.
func (d *document) checkRedis(r *Redis) {
	for i, text := range r.URLs {
		path := fmt.Sprintf("redis.urls[%d]", i)
		_, database, bad := redisAddress(text)
		switch {
		case bad != nil:
			d.at(path, bad.hint, "%s", bad.message)
		case database != 0 && len(r.URLs) > 1 && r.SentinelMaster == "":
			d.at(path, "leave it out", "names a database, which a Redis Cluster does not have")
		}
	}
	given := len(r.URLs) > 0 || d.meant["redis.urls"]
	for _, k := range []struct {
		name string
		on   bool
	}{{"username", r.Username != ""}, {"password", !r.Password.IsZero()}, {"tls", r.TLS}, {"ca_file", r.CAFile != ""}, {"sentinel_master", r.SentinelMaster != ""}, {"sentinel_password", !r.SentinelPassword.IsZero()}} {
		if k.on && !given {
			d.at(d.asFile("redis."+k.name), "add redis.urls", "has no server to be used with")
		}
	}
	if r.CAFile != "" {
		if bad := checkFile(d.resolve(r.CAFile), r.CAFile, maxSecretFile, false); bad != nil {
			d.at("redis.ca_file", bad.hint, "%s", bad.message)
		} else if !r.TLS {
			d.at("redis.ca_file", "add tls: true", "verifies nothing without TLS")
		}
	}
	if !r.SentinelPassword.IsZero() && r.SentinelMaster == "" {
		d.at(d.asFile("redis.sentinel_password"), "add sentinel_master", "there are no Sentinels without sentinel_master")
	}
}

// Servers are the addresses in urls and the database they name.
func (r Redis) Servers() (addrs []string, database int) {
	for _, text := range r.URLs {
		addr, db, _ := redisAddress(text) // checked by the loader
		addrs, database = append(addrs, addr), max(database, db)
	}
	return addrs, database
}

func redisAddress(text string) (addr string, database int, bad *finding) {
	const like = "write redis://HOST:6379"
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "":
		return "", 0, found(like, "%s is not the URL of a Redis server", hideUserinfo(text))
	case u.User != nil:
		return "", 0, found(like+", with username and password_file beside it", "a password in the URL could be seen")
	case u.Scheme == "rediss":
		return "", 0, found("write redis:// and tls: true", "%s says TLS where tls does", quote(text))
	case u.Scheme != "redis" || !goodPort(u.Port()) || !goodDialHost(u.Hostname()):
		return "", 0, found(like, "%s is not the URL of a Redis server", quote(text))
	}
	if name := strings.Trim(u.Path, "/"); name != "" {
		database, err = strconv.Atoi(name)
		if err != nil || database < 0 || database > 1023 {
			return "", 0, found(like, "%s names no database", quote(text))
		}
	}
	return u.Host, database, nil
}

// checkCluster asks for what instances share.
func (d *document) checkCluster(c *Config) {
	if !d.clean("cluster") {
		return
	}
	if !c.Cluster {
		if len(c.Redis.URLs) > 0 {
			d.at("redis.urls", "add cluster: true, or leave it out", "a single instance shares nothing through Redis")
		}
		if !c.Tokens.EncryptionKey.IsZero() && c.Store.Postgres == nil {
			d.at(d.asFile("tokens.encryption_key"), "leave it out", "keys leave this machine only with store.postgres")
		}
	} else {
		d.checkClusterHas(c)
	}
	if key := c.Tokens.EncryptionKey; !key.IsZero() && d.clean("tokens") {
		for _, line := range strings.Fields(key.Reveal()) {
			if bad := checkHMACKey(line); bad != nil {
				d.at(d.asFile("tokens.encryption_key"), bad.hint, "%s", strings.ReplaceAll(bad.message, "HS256 needs", "encryption needs"))
				return
			}
		}
	}
}

// checkClusterHas reports at cluster what is not there, and not there wrongly.
func (d *document) checkClusterHas(c *Config) {
	var missing []string
	for _, k := range []struct {
		there bool
		path  string
	}{{c.Store.Postgres != nil, "store.postgres"}, {len(c.Redis.URLs) > 0, "redis.urls"}, {!c.Tokens.EncryptionKey.IsZero(), "tokens.encryption_key"}} {
		if !k.there && !d.meant[k.path] && !d.has(k.path) && !d.has(k.path+"_file") {
			missing = append(missing, k.path)
		}
	}
	if len(missing) > 0 {
		d.at("cluster", "add it, or leave cluster out", "several instances share %s, which is not given", strings.Join(missing, ", "))
	}
}
