package main

// T118 to T134.
var transportBites = []bite{}
