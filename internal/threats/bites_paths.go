package main

// T23 to T41.
var pathBites = []bite{}
