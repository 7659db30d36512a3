package archtest

import (
	"strings"
	"testing"
)

// The build of make run leaves out what takes long to compile.
func TestEmbeddedBuildHasNoClientsOfServers(t *testing.T) {
	found := false
	for _, p := range list(t, "-tags", "embedded", "./cmd/gatehouse") {
		for _, dep := range p.Deps {
			found = found || dep == "gatehouse/store/sqlstore"
			if strings.Contains(dep, "jackc/pgx") || strings.Contains(dep, "go-redis") {
				t.Errorf("%s is compiled into it", dep)
			}
		}
	}
	if !found {
		t.Error("the list of what it is made of is not one")
	}
}
