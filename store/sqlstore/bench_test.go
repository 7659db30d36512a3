package sqlstore

import (
	"fmt"
	"testing"
	"time"

	"gatehouse/store"
)

func BenchmarkTake(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			s := open(b, fileIn(b), Options{})
			b.SetParallelism(max(callers/2, 1))
			now := time.Now()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if _, err := s.Limiter().Take(b.Context(), now, store.Claim{Key: "k", Count: 1 << 30, Per: time.Hour}); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

// BenchmarkRotate is one durable rotation: alone, each pays an fsync; together
// they share it.
func BenchmarkRotate(b *testing.B) {
	for _, callers := range []int{1, 64} {
		b.Run(fmt.Sprint("callers=", callers), func(b *testing.B) {
			s := open(b, fileIn(b), Options{})
			now := time.Now()
			work := make(chan int)
			done := make(chan struct{})
			for c := range callers {
				sel := [12]byte{byte(c)}
				v := store.Session{ID: fmt.Sprint(c), IdleEnds: now.Add(time.Hour), Ends: now.Add(time.Hour)}
				if err := s.Sessions().Create(b.Context(), v, store.SessionHead{ID: v.ID, Selector: sel}); err != nil {
					b.Fatal(err)
				}
				go func() {
					var head [32]byte
					for i := range work {
						next := [32]byte{byte(i), byte(i >> 8), byte(i >> 16), 1}
						if _, err := s.Sessions().Rotate(b.Context(), store.Rotation{Selector: sel, Presented: head, Successor: next, Now: now, IdleEnds: now.Add(time.Hour)}); err != nil {
							b.Error(err)
						}
						head = next
					}
					done <- struct{}{}
				}()
			}
			b.ResetTimer()
			for i := range b.N {
				work <- i
			}
			close(work)
			for range callers {
				<-done
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rotations/s")
		})
	}
}

// BenchmarkSince reads the whole list, page by page; divided by the entries.
func BenchmarkSince(b *testing.B) {
	const entries, page = 100_000, 5000
	s := open(b, fileIn(b), Options{})
	now := time.Now()
	for from := 0; from < entries; from += 1000 {
		some := make([]store.Revocation, 1000)
		for i := range some {
			some[i] = store.Revocation{Kind: store.KindSession, Key: fmt.Sprintf("session-%016d", from+i), CreatedAt: now, Expires: now.Add(time.Hour)}
		}
		if err := s.Revocations().Revoke(b.Context(), some...); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		got := 0
		for after := int64(0); ; {
			list, _, err := s.Revocations().Since(b.Context(), after, page)
			if err != nil {
				b.Fatal(err)
			}
			if got += len(list); len(list) < page {
				break
			}
			after = list[len(list)-1].Seq
		}
		if got != entries {
			b.Fatalf("%d entries, want %d", got, entries)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/entries, "ns/entry")
}
