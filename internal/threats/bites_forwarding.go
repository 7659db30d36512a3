package main

// T17 to T22.
var forwardingBites = []bite{}
