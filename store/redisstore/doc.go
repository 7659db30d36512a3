// Package redisstore uses Redis or Valkey for what several instances share and
// may lose: the counters of limits, and the doorbell that tells of revocations
// before the next poll of the list would. It decides how long anybody waits for
// Redis, at most 150 ms, and when it counts as gone. It refuses to know what is
// limited and what a revocation means; nothing that must not be lost is in it.
package redisstore
