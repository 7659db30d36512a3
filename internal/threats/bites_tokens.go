package main

// T79 to T97.
var tokenBites = []bite{}
